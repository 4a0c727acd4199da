"""A pool's texts in blocks, each an artifact of its own: who scores them holds one at a time.

A pool's memory is its tokens and texts; what becomes of them by scoring is a number a response.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workers.artifacts import ArtifactStore
from workers.pool.pool import Pool
from workers.stages.context import contiguous_shards

RESPONSES_PER_BLOCK = 4096
"""A task's work: seconds of a lexical model, some minutes of a fine-tuned one without a GPU."""


def blocks_of(responses: int) -> list[range]:
    """Places of as many responses, cut into blocks of about the same length."""
    return contiguous_shards(responses, -(-responses // RESPONSES_PER_BLOCK))


@dataclass(frozen=True)
class PoolTexts:
    """J responses to each of X prompts: `shape` is (X, J), `blocks` are digests, in flat order."""

    shape: tuple[int, int]
    blocks: Sequence[str]

    @classmethod
    def stored(cls, artifacts: ArtifactStore, pool: Pool) -> "PoolTexts":
        prompts, responses = pool.flat_texts()
        blocks = [
            _put_block(
                artifacts, prompts[part.start : part.stop], responses[part.start : part.stop]
            )
            for part in blocks_of(len(responses))
        ]
        count, each = pool.lengths_XJ.shape
        return cls((count, each), blocks)

    def to_json(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "blocks": list(self.blocks)}


def load_texts(artifacts: ArtifactStore, digest: str) -> tuple[PoolTexts, PoolTexts]:
    """Of the pool and the held-out pool of a `sample_pool` artifact."""
    left = artifacts.get_json(digest)
    pool, holdout = (_texts_of(artifacts, left, kind) for kind in ("pool", "holdout"))
    return pool, holdout


def _texts_of(artifacts: ArtifactStore, left: dict[str, Any], kind: str) -> PoolTexts:
    if "texts" not in left:  # drawn by a release that kept texts in the pools alone
        return PoolTexts.stored(artifacts, Pool.from_bytes(artifacts.get(left[kind])))
    found = left["texts"][kind]
    count, each = found["shape"]
    return PoolTexts((count, each), found["blocks"])


def read_block(artifacts: ArtifactStore, digest: str) -> tuple[list[str], list[str]]:
    """(prompts, responses) of a block, of the same length."""
    block = artifacts.get_json(digest)
    prompts = [prompt for prompt, count in block["prompts"] for _ in range(count)]
    return prompts, block["responses"]


def _put_block(artifacts: ArtifactStore, prompts: Sequence[str], responses: Sequence[str]) -> str:
    """Responses to one prompt lie together, and the prompt is written once."""
    runs = [[prompt, len(list(run))] for prompt, run in itertools.groupby(prompts)]
    return artifacts.put_json({"prompts": runs, "responses": list(responses)})
