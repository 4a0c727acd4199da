"""No code in the documentation goes untested unnoticed."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer
from pages import CODE, NOT_RUN, ROOT, Block, blocks, pages, runnable

from client.cli import app
from workers.solving.run import solve_file

RUN_BY = {
    "README.md": "docs/test_readme.py",
    "docs/cli.md": "client/test_cli_page.py",
    "docs/client.md": "client/test_client_page.py",
    "docs/playground.md": "service/test_openai_client.py",
    "docs/tutorial.md": "docs/test_guides.py",
    "docs/how-to/own-data.md": "docs/test_guides.py",
    "docs/how-to/own-model.md": "docs/test_guides.py",
    "docs/how-to/pay-and-verify.md": "docs/test_guides.py",
    "docs/how-to/postgresql.md": "docs/test_guides.py",
}
"""The module in tests/ that runs a page's blocks, all but those in `pages.NOT_RUN`."""

_COMMAND = re.compile(
    r"(?:^|\$\()(?:[A-Z_]+=\S+ )?truthtune ((?:[^|;&()<>`\n]|\$\([^()]*\))+)", re.MULTILINE
)
_SHOWN = {"json", "toml", "text", "mermaid", *CODE}


def test_every_page_with_code_is_run_by_a_module_that_names_it() -> None:
    assert {page for page in pages() if runnable(page)} == set(RUN_BY)
    for page, module in RUN_BY.items():
        assert page.rpartition("/")[2] in (ROOT / "tests" / module).read_text()


def test_what_is_not_run_is_there() -> None:
    """A reason must not outlive its block."""
    assert set(NOT_RUN) <= {block.name for page in pages() for block in blocks(page)}


def test_no_block_is_in_a_language_that_nobody_looks_at() -> None:
    fence = re.compile(r"^```(\w*)", re.MULTILINE)
    for page in pages():
        opened = fence.findall((ROOT / page).read_text())[::2]
        assert set(opened) <= _SHOWN | {""}, page


def _commands() -> Iterator[tuple[Block, list[str]]]:
    for page in pages():
        for block in blocks(page, ("sh",)):
            for command in _COMMAND.findall(block.text.replace("\\\n", " ")):
                yield block, _words(command)


def _words(command: str) -> list[str]:
    """Of a command that ends, as `"$(…` does, in the midst of a quotation."""
    return shlex.split(command if command.count('"') % 2 == 0 else command.rpartition('"')[0])


def test_every_command_in_the_documentation_exists_with_its_options() -> None:
    root: Any = typer.main.get_command(app)
    commands = [each for each in _commands() if each[0].name not in NOT_RUN]
    assert len(commands) > 60
    for block, words in commands:
        _check(root, words, f"{block.page}: truthtune {' '.join(words)}")


def _check(command: Any, words: list[str], line: str) -> None:
    context = command.make_context("truthtune", [], resilient_parsing=True)
    place = 0
    while hasattr(command, "get_command"):
        while words[place].startswith("-"):
            place += 2
        command = command.get_command(context, words[place])
        assert command is not None, f"{line}: there is no {words[place]!r}"
        place += 1
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    for word in words[place:]:
        if word.startswith("--") and len(word) > 2:
            assert word.partition("=")[0] in known, f"{line}: there is no {word}"


def test_the_games_of_the_documentation_are_games(tmp_path: Path) -> None:
    """Every JSON block of the page on game files; the one that names arrays is given some."""
    np.save(tmp_path / "rewards.npy", np.eye(2).reshape(1, 2, 2))
    np.save(tmp_path / "base.npy", np.full((1, 2), 0.5))
    np.save(tmp_path / "weights.npy", np.ones(1))
    games = [json.loads(block.text) for block in blocks("docs/solve.md", ("json",))]
    assert [game["kind"] for game in games] == ["pool", "pool", "candidates"]
    for place, game in enumerate(games):
        (tmp_path / "game.json").write_text(json.dumps(game))
        outcome = tmp_path / f"{place}.json"
        solve_file(str(tmp_path / "game.json"), "affine_maximizer", outcome, None)
        assert len(json.loads(outcome.read_text())["payments"]) == len(game["sizes"])


def test_every_json_block_is_json() -> None:
    for page in pages():
        for block in blocks(page, ("json",)):
            json.loads(block.text)
