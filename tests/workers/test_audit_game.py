"""`truthtune audit-game`: what lies would gain in a game in a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from solve_support import candidates_game, pool_game
from typer.testing import CliRunner

from workers.cli import app


def invoked(folder: Path, game: dict[str, Any], *options: str) -> Any:
    path = folder / "game.json"
    path.write_text(json.dumps(game))
    return CliRunner().invoke(app, ["audit-game", str(path), *options])


def two_tastes(regularizer: str = "kl") -> dict[str, Any]:
    return {
        "kind": "pool",
        "regularizer": regularizer,
        f"{regularizer}_coefficient": 2.0,
        "sizes": [3, 7],
        "prompts": [{"base": [0.5, 0.25, 0.25], "rewards": [[1, 0.5, 0], [0, 0.25, 1]]}],
    }


@pytest.mark.parametrize("rule", ["affine_maximizer", "revenue_maximizing"])
@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_lies_gain_without_payments_and_not_with_them(
    tmp_path: Path, regularizer: str, rule: str
) -> None:
    done = invoked(tmp_path, two_tastes(regularizer), "--payment-rule", rule)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["truth"]) == 2
    assert len(result["misreports"]) == 2 * (8 + 5 + 4 + 1)
    assert result["largest_gain"] <= 1e-9
    assert result["largest_gain_without_payments"] > 0.1


def test_one_line_is_as_worked_out_by_hand(tmp_path: Path) -> None:
    """λ = 1/log 2, so that e^(S/λ) = 2^S; one prompt, one group of size 1 that inflates to 3.

    Truth: π ∝ (2^1, 2^0), v = 2/3; alone, it pays λ·KL = ASW₋ᵢ(π₀) − ASW₋ᵢ(ψ) with no others.
    """
    scale = 1 / np.log(2)
    game = {
        "kind": "pool",
        "regularizer": "kl",
        "kl_coefficient": scale,
        "sizes": [1],
        "prompts": [{"base": [0.5, 0.5], "rewards": [[1, 0]]}],
    }
    result = json.loads(invoked(tmp_path, game).stdout)
    (line,) = [
        line
        for line in result["misreports"]
        if (line["strategy"], line["parameter"]) == ("inflate", 3.0)
    ]
    kl = 8 / 9 * np.log(16 / 9) + 1 / 9 * np.log(2 / 9)
    assert line["reported_size"] == 3
    assert line["valuation"] == pytest.approx(8 / 9)
    assert line["payment"] == pytest.approx(scale * kl)
    assert line["utility"] == pytest.approx(8 / 9 - scale * kl)
    assert line["gain_without_payments"] == pytest.approx(8 / 9 - 2 / 3)


def test_a_size_beyond_the_bound_is_not_reported(tmp_path: Path) -> None:
    result = json.loads(invoked(tmp_path, two_tastes(), "--max-size", "8").stdout)
    assert max(line["reported_size"] for line in result["misreports"]) == 8


@pytest.mark.parametrize(
    ("game", "options", "told"),
    [
        (candidates_game(), (), 'kind: "candidates" has no rewards'),
        (pool_game(), (), "prompts[1].base: has 3 responses, prompts[0] has 2"),
        (two_tastes() | {"sizes": [3]}, (), "has 2 rows, expected one for each of 1 sizes"),
        (
            two_tastes() | {"prompts": [{"base": [0.5, 0.5], "rewards": [[1, 1], [0, 1]]}]},
            ("--payment-rule", "revenue_maximizing"),
            "prompts[*].rewards[0]: all rewards are 1.0",
        ),
    ],
)
def test_a_game_that_can_not_be_audited_is_refused_with_its_path(
    tmp_path: Path, game: dict[str, Any], options: tuple[str, ...], told: str
) -> None:
    out = tmp_path / "out.json"
    done = invoked(tmp_path, game, *options, "--out", str(out))
    assert done.exit_code == 2
    assert told in done.stderr
    assert not out.exists()
