"""What a type checker knows of both clients, whose methods are written once."""

import re
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]
PROGRAM = """
from client import AsyncTruthtune, Truthtune

plain, awaited = Truthtune("", ""), AsyncTruthtune("", "")
reveal_type(plain.groups.create)
reveal_type(awaited.groups.create)
reveal_type(list(plain.rounds.list()))
reveal_type(plain.jobs.stream("")), reveal_type(awaited.jobs.stream(""))
for group in awaited.groups.list(): ...
plain.groups.create(3)

async def main() -> None:
    async for group in plain.groups.list(): ...
    reveal_type([each async for each in awaited.rounds.list()])
    reveal_type(await awaited.rounds.list().page(limit=1))
    await plain.groups.get("")
    awaited.groups.get("").name
"""


def test_results_arguments_and_the_two_modes_are_known_to_mypy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings of somebody else's project: none of ours, no plugin."""
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    options = ["--config-file=", "--strict", "--follow-imports=silent"]
    shown, problems, _ = api.run([*options, str(program)])
    assert problems == ""
    assert re.findall(r'Revealed type is "(.*)"', shown) == [
        "def (name: str, *, idempotency_key: str | None =) -> api_schemas.groups.Group",
        "def (name: str, *, idempotency_key: str | None =) -> "
        "typing.Coroutine[Any, Any, api_schemas.groups.Group]",
        "list[api_schemas.rounds.Round]",
        "typing.Iterator[api_schemas.jobs.JobEvent]",
        "typing.AsyncGenerator[api_schemas.jobs.JobEvent, None]",
        "list[api_schemas.rounds.Round]",
        "api_schemas.base.ListPage[api_schemas.rounds.Round]",
    ]
    assert re.findall(r"^\S+?:(\d+): error: .*\[([a-z-]+)\]$", shown, re.MULTILINE) == [
        ("9", "misc"),  # an asynchronous list in a plain loop
        ("10", "arg-type"),
        ("13", "misc"),
        ("16", "misc"),  # a result awaited
        ("17", "attr-defined"),  # a coroutine not awaited
    ]
