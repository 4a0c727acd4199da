"""`truthtune solve` on malformed games: status 2, one line with the place, nothing written."""

import json
from pathlib import Path
from typing import Any

import pytest
from solve_support import candidates_game, pool_game, refusal, solved, truthtune, written
from typer.testing import CliRunner

from workers.cli import app


def changed(game: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The game with the value at a path of keys and indices replaced; None removes it."""
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    inner: Any = game
    for key in parents:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return game


BAD_POOL = [
    ("kind", "pools", 'kind: "pools" is not one of pool, candidates'),
    ("kind", None, "kind: missing"),
    ("kind", ["pool"], "kind: a list is not one of"),
    ("note", "x", "note: unknown"),
    ("regularizer", "l1", 'regularizer: "l1" is not one of kl, l2'),
    ("regularizer", None, "regularizer: missing"),
    ("regularizer", "l2", "kl_coefficient: does not go with regularizer 'l2'"),
    ("l2_coefficient", 1.0, "l2_coefficient: does not go with regularizer 'kl'"),
    ("kl_coefficient", None, "kl_coefficient: missing"),
    ("kl_coefficient", 0, "kl_coefficient: 0 is not positive"),
    ("kl_coefficient", -2.5, "kl_coefficient: -2.5 is not positive"),
    ("kl_coefficient", "2", 'kl_coefficient: "2" is not a number'),
    ("kl_coefficient", True, "kl_coefficient: true is not a number"),
    ("kl_coefficient", float("nan"), "kl_coefficient: NaN is not finite"),
    ("kl_coefficient", float("inf"), "kl_coefficient: Infinity is not finite"),
    ("kl_coefficient", 1e301, "kl_coefficient: 1e+301 is outside [1e-300, 1e+300]"),
    ("sizes", [], "sizes: is empty"),
    ("sizes", 3, "sizes: 3 is not a list"),
    ("sizes", [1, 0], "sizes[1]: 0 is not a positive integer"),
    ("sizes", [1, -3], "sizes[1]: -3 is not a positive integer"),
    ("sizes", [1.5, 1], "sizes[0]: 1.5 is not a positive integer"),
    ("sizes", [1, True], "sizes[1]: true is not a number"),
    ("sizes", [1, "2"], 'sizes[1]: "2" is not a number'),
    ("sizes", [1, 10**20], "sizes[1]: 100000000000000000000 is larger than 2^53"),
    ("sizes", [1, 10**400], "sizes[1]: 1000000"),
    ("sizes", [1], "prompts[0].rewards: has 2 rows, expected one for each of 1 sizes"),
    ("prompts", None, "prompts: expected this or arrays"),
    ("prompts", [], "prompts: is empty"),
    ("prompts", {}, "prompts: an object is not a list"),
    ("prompts.1", 7, "prompts[1]: 7 is not an object"),
    ("prompts.1.base", None, "prompts[1].base: missing"),
    ("prompts.1.rewards", None, "prompts[1].rewards: missing"),
    ("prompts.1.reward", [], "prompts[1].reward: unknown"),
    ("prompts.1.weight", None, "prompts[1].weight: missing, but other prompts have one"),
    ("prompts.1.weight", -0.25, "prompts[1].weight: -0.25 is negative"),
    ("prompts.1.weight", 0.5, "prompts[*].weight: the sum is 1.25, expected 1"),
    ("prompts.1.weight", "1", 'prompts[1].weight: "1" is not a number'),
    ("prompts.0.base", [0.5, 0.4], "prompts[0].base: the sum is 0.9, expected 1"),
    ("prompts.0.base", [1.0, 0.0], "prompts[0].base[1]: 0.0 is not positive"),
    ("prompts.0.base", [1.5, -0.5], "prompts[0].base[1]: -0.5 is not positive"),
    ("prompts.0.base", [], "prompts[0].base: is empty"),
    ("prompts.0.base", [1.0], "prompts[0].rewards[0]: has 2 numbers, expected 1"),
    ("prompts.0.base.1", None, "prompts[0].rewards[0]: has 2 numbers, expected 1"),
    ("prompts.0.base.1", [0.5], "prompts[0].base[1]: a list is not a number"),
    ("prompts.1.rewards.0.2", 1.5, "prompts[1].rewards[0][2]: 1.5 is outside [0, 1]"),
    ("prompts.1.rewards.0.2", -1, "prompts[1].rewards[0][2]: -1 is outside [0, 1]"),
    ("prompts.1.rewards.0.2", float("nan"), "prompts[1].rewards[0][2]: NaN is not finite"),
    ("prompts.1.rewards.0.2", False, "prompts[1].rewards[0][2]: false is not a number"),
    ("prompts.1.rewards.1", [0, 0], "prompts[1].rewards[1]: has 2 numbers, expected 3"),
    ("prompts.1.rewards.1", "abc", 'prompts[1].rewards[1]: "abc" is not a list'),
    ("prompts.1.rewards.1", None, "prompts[1].rewards: has 1 rows"),
    ("arrays", {}, "prompts: expected this or arrays, and not both"),
]


@pytest.mark.parametrize(("path", "value", "line"), BAD_POOL)
def test_a_malformed_pool_game_is_refused_with_path_and_value(
    path: str, value: Any, line: str, tmp_path: Path
) -> None:
    game = written(tmp_path, changed(pool_game(), path, value))
    assert f"truthtune: {line}" in refusal(game, "--out", tmp_path / "outcome.json")


BAD_CANDIDATES = [
    ("penalties", None, "penalties: missing"),
    ("penalties", [], "penalties: is empty"),
    ("penalties", [0.0, -0.5, 0.3], "penalties[1]: -0.5 is negative"),
    ("penalties", [0.0, 0.5], "valuations[0]: has 3 numbers, expected 2"),
    ("penalties.1", "a", 'penalties[1]: "a" is not a number'),
    ("valuations", [[0.1, 0.2, 0.3]], "valuations: has 1 rows, expected one for each of 2 sizes"),
    ("valuations.1", [0.1], "valuations[1]: has 1 numbers, expected 3"),
    ("valuations.1.2", float("inf"), "valuations[1][2]: Infinity is not finite"),
    ("valuations.1.2", 1e308, "$: the game's numbers are so large that its welfare is not finite"),
    ("prompts", [], "prompts: unknown"),
    ("sizes.0", 0, "sizes[0]: 0 is not a positive integer"),
]


@pytest.mark.parametrize(("path", "value", "line"), BAD_CANDIDATES)
def test_a_malformed_game_of_candidates_is_refused_with_path_and_value(
    path: str, value: Any, line: str, tmp_path: Path
) -> None:
    game = written(tmp_path, changed(candidates_game(), path, value))
    assert f"truthtune: {line}" in refusal(game)


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ("", "$: not JSON"),
        ("{'kind': 1}", "$: not JSON"),
        ('{"kind": "pool"', "$: not JSON"),
        ("[1, 2]", "$: a list is not an object"),
        ("null", "$: null is not an object"),
        ("[" * 100_000, "$: not a game: lists or objects are nested too deeply"),
        ('{"kind": "candidates", "sizes": [1], "sizes": [2]}', "sizes: appears twice"),
        ('{"kind": "candidates", "sizes": [' + "9" * 5000 + "]}", "$: not JSON"),
    ],
)
def test_a_document_that_is_no_game_is_refused(document: str, line: str, tmp_path: Path) -> None:
    assert f"truthtune: {line}" in refusal(written(tmp_path, document))


def test_a_refusal_by_the_real_command_has_status_2_one_line_and_no_traceback(
    tmp_path: Path,
) -> None:
    done = truthtune("-", "--out", tmp_path / "outcome.json", stdin=b'{"kind": "pool\xff"}')
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.startswith(b"truthtune: $: not JSON: ")
    assert done.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_absent_or_cannot_be_written_are_named(tmp_path: Path) -> None:
    game = written(tmp_path, pool_game())
    assert "absent.json: No such file" in refusal(tmp_path / "absent.json")
    assert "Is a directory" in refusal(tmp_path)
    lost = refusal(game, "--out", tmp_path / "nowhere" / "out.json")
    assert "--out: " in lost
    assert "No such file or directory" in lost
    assert "--out: " in refusal(game, "--out", tmp_path)
    assert "is not a regular file" in refusal(game, "--out", "/dev/null")


def test_an_earlier_outcome_is_replaced_whole_or_kept(tmp_path: Path) -> None:
    out = tmp_path / "outcome.json"
    out.write_text("earlier")
    refusal(written(tmp_path, changed(pool_game(), "sizes", [1])), "--out", out)
    assert out.read_text() == "earlier"
    game = written(tmp_path, pool_game())
    assert CliRunner().invoke(app, ["solve", str(game), "--out", str(out)]).exit_code == 0
    assert json.loads(out.read_text()) == solved(game)
