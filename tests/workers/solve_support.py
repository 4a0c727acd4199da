"""Small games, and `truthtune solve` run on them in this process or in one of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from workers.cli import app

ROOT = Path(__file__).parents[2]


def truthtune(*arguments: str | Path, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "client.cli", "solve", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True)


def solved(path: Path, *options: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["solve", str(path), *options])
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


def refusal(path: Path, *options: str | Path) -> str:
    """The one line on standard error of a game that is refused."""
    before = sorted(path.parent.iterdir())
    done = CliRunner().invoke(app, ["solve", str(path), *map(str, options)])
    assert done.exit_code == 2, (done.stdout, done.exception)
    assert done.stdout == ""
    assert done.stderr.startswith("truthtune: ")
    assert done.stderr.count("\n") == 1
    assert sorted(path.parent.iterdir()) == before
    return str(done.stderr)


def pool_game() -> dict[str, Any]:
    return {
        "kind": "pool",
        "regularizer": "kl",
        "kl_coefficient": 1 / np.log(2),
        "sizes": [1, 1],
        "prompts": [
            {"weight": 0.75, "base": [0.5, 0.5], "rewards": [[1, 0], [0, 1]]},
            {"weight": 0.25, "base": [0.25, 0.5, 0.25], "rewards": [[0, 0.5, 1], [0.5, 0.5, 0.5]]},
        ],
    }


def candidates_game() -> dict[str, Any]:
    return {
        "kind": "candidates",
        "sizes": [2, 3],
        "valuations": [[0.1, 0.9, 0.5], [0.6, 0.2, 0.5]],
        "penalties": [0.0, 0.4, 0.3],
    }


def written(folder: Path, game: Any) -> Path:
    path = folder / "game.json"
    path.write_text(game if isinstance(game, str) else json.dumps(game))
    return path
