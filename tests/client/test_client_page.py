"""The code in docs/client.md runs, from top to bottom."""

import re
from pathlib import Path

import pytest
from client_support import RunningService

from api_schemas.lexical import LexicalSpec
from client import Truthtune

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
LEXICAL = LexicalSpec.model_validate(
    {"type": "lexical", "features": [{"type": "keywords", "words": ["please"]}]}
)


def test_every_block_of_the_page_runs_in_the_order_of_the_page(
    service: RunningService,
    operator: Truthtune,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    operator.jobs.cancel(operator.reward_models.create("cancelled", LEXICAL).job_id)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "red sun"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRUTHTUNE_URL", service.url)
    monkeypatch.setenv("TRUTHTUNE_API_KEY", service.operator_key)
    assert len(BLOCKS) == 6
    names: dict[str, object] = {"__name__": "__main__"}
    for block in BLOCKS:
        exec(compile(block, "docs/client.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    for line in ("bakers", "millers", "  0% -, 0 s", "cancelled", "copy.jsonl: 22 of 22 bytes"):
        assert line in printed
    assert (tmp_path / "copy.jsonl").read_bytes() == prompts.read_bytes()
