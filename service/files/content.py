"""Reading stored files back."""

from itertools import islice

from api_schemas.datasets import PromptLine, parse_jsonl
from workers.artifacts import ArtifactStore


def read_prompts(
    artifacts: ArtifactStore, sha256: str, at_most: int | None = None
) -> list[PromptLine]:
    """The prompts of a stored file in its order, all or the first few."""
    with artifacts.open(sha256) as blob:
        return parse_jsonl(islice((line for line in blob if line.strip()), at_most), PromptLine)
