"""`truthtune solve`: outcomes of explicit games, by an oracle's figures and derived by hand."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from solve_support import ROOT, candidates_game, pool_game, refusal, solved, truthtune, written

ORACLE = ROOT / ".." / "shared" / "oracle"
ABSENT = ("torch", "ray", "transformers", "fastapi", "uvicorn", "sqlalchemy", "service")


def oracle_games() -> list[Any]:
    paths = sorted(ORACLE.glob("game*.json"))
    found = [pytest.param(path, id=path.stem) for path in paths]
    return found or [pytest.param(None, marks=pytest.mark.skip(f"no games in {ORACLE}"))]


@pytest.mark.parametrize("path", oracle_games())
def test_the_command_agrees_with_a_general_purpose_optimiser(path: Path, tmp_path: Path) -> None:
    case = json.loads(path.read_text())
    out = tmp_path / "outcome.json"
    done = truthtune(written(tmp_path, case["game"]), "--out", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    outcome = json.loads(out.read_text())
    assert outcome.keys() == case["expected"].keys()
    for name, expected in case["expected"].items():
        if name == "policies":
            for found_J, expected_J in zip(outcome[name], expected, strict=True):
                np.testing.assert_allclose(found_J, expected_J, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_allclose(outcome[name], expected, atol=1e-5, err_msg=name)


def test_a_game_on_standard_input_needs_no_server_database_ray_or_torch() -> None:
    program = (
        "import sys\nfrom client import cli\nsys.argv[1:] = ['solve', '-']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        f"print([name for name in {ABSENT!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        input=json.dumps(candidates_game()).encode(),
        capture_output=True,
    )
    assert json.loads(done.stdout)["choice"] == 2
    assert done.stderr == b"[]\n"


def test_a_pool_game_with_prompts_of_different_lengths(tmp_path: Path) -> None:
    # 1/λ = ln 2, so exp(r/λ) = 2^r and all welfares are binary logarithms.
    # Prompt 0: S = (1, 1): π = q, ASW 1, D = 0; without either group log₂((2 + 1)/2) = log₂ 1.5.
    # Prompt 1: group 1 is constant, so both worlds with group 0 have π ∝ (1, 2√2, 2)/4, and group 0
    # adds a = log₂((1 + 2√2 + 2)/4) to 0.5.
    outcome = solved(written(tmp_path, pool_game()))
    mass = 3 + 2 * np.sqrt(2)
    policy = np.array([1, 2 * np.sqrt(2), 2]) / mass
    added = np.log2(mass / 4)
    value = policy @ [0, 0.5, 1]
    np.testing.assert_allclose(outcome["policies"][0], [0.5, 0.5], rtol=1e-14)
    np.testing.assert_allclose(outcome["policies"][1], policy, rtol=1e-14)
    np.testing.assert_allclose(outcome["valuations"], [0.375 + value / 4, 0.5], rtol=1e-14)
    assert outcome["welfare"] == pytest.approx(0.75 + (added + 0.5) / 4, rel=1e-14)
    assert outcome["divergence"] == pytest.approx((value - added) * np.log(2) / 4, rel=1e-12)
    without = [0.75 * np.log2(1.5) + 0.125, 0.75 * np.log2(1.5) + added / 4]
    np.testing.assert_allclose(outcome["welfare_without"], without, rtol=1e-14)
    payment = 0.75 * (np.log2(1.5) - 0.5)
    expected = [payment + (value - added) / 4, payment]
    np.testing.assert_allclose(outcome["payments"], expected, rtol=1e-13)
    utilities = np.array(outcome["valuations"]) - outcome["payments"]
    np.testing.assert_allclose(outcome["utilities"], utilities, rtol=1e-14)
    assert "surcharges" not in outcome


def test_an_l2_game(tmp_path: Path) -> None:
    # q + S/(2λ) = (1, ½) is projected to (¾, ¼): D = 2/16, ASW = ¾ − ⅛; alone, p = λD = ⅛.
    game = {
        "kind": "pool",
        "regularizer": "l2",
        "l2_coefficient": 1,
        "sizes": [1],
        "prompts": [{"base": [0.5, 0.5], "rewards": [[1, 0]]}],
    }
    assert solved(written(tmp_path, game)) == {
        "policies": [[0.75, 0.25]],
        "valuations": [0.75],
        "divergence": 0.125,
        "welfare": 0.625,
        "welfare_without": [0.0],
        "payments": [0.125],
        "utilities": [0.625],
    }


def test_a_game_of_candidates(tmp_path: Path) -> None:
    # Welfare 2·v₀ + 3·v₁ − penalty: 2.0, 2.0, 2.2, so candidate 2 wins; to group 1 alone they are
    # worth 1.8, 0.2, 1.2, to group 0 alone 0.2, 1.4, 0.7.
    outcome = solved(written(tmp_path, candidates_game()))
    assert outcome["choice"] == 2
    assert outcome["valuations"] == [0.5, 0.5]
    assert outcome["divergence_penalty"] == 0.3
    assert outcome["welfare"] == pytest.approx(2.2)
    np.testing.assert_allclose(outcome["welfare_without"], [1.8, 1.4])
    np.testing.assert_allclose(outcome["payments"], [1.8 - 1.2, 1.4 - 0.7])
    np.testing.assert_allclose(outcome["utilities"], [0.4, 0.8])


def test_a_tie_between_candidates_goes_to_the_first(tmp_path: Path) -> None:
    game = {"kind": "candidates", "sizes": [1], "valuations": [[0.5, 0.5]], "penalties": [0, 0]}
    assert solved(written(tmp_path, game))["choice"] == 0


def test_revenue_maximizing_adds_the_least_utility_a_report_could_have(tmp_path: Path) -> None:
    # λ log(1 + p·(2 − 1)) = log₂(1 + p) at each prompt's least likely response without the group:
    # without group 0, π = (⅓, ⅔) on prompt 0 and q on prompt 1; without group 1, (⅔, ⅓), and on
    # prompt 1 the policy of both, whose least entry is 1/mass.
    plain = solved(written(tmp_path, pool_game()))
    outcome = solved(written(tmp_path, pool_game()), "--payment-rule", "revenue_maximizing")
    mass = 3 + 2 * np.sqrt(2)
    first = 0.75 * np.log2(4 / 3)
    surcharges = [min(first, np.log2(1.25) / 4), min(first, np.log2(1 + 1 / mass) / 4)]
    np.testing.assert_allclose(outcome["surcharges"], surcharges, rtol=1e-13)
    np.testing.assert_allclose(outcome["payments"], np.add(plain["payments"], surcharges))
    np.testing.assert_allclose(outcome["utilities"], np.subtract(plain["utilities"], surcharges))
    assert min(outcome["utilities"]) >= 0
    assert outcome["welfare_without"] == plain["welfare_without"]


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        ([[1, 0.5], [0.5, 0.9]], ["prompts[*].rewards[1]", "0.9", "expected 1"]),
        ([[1, 1], [0, 1]], ["prompts[*].rewards[0]", "all rewards are 1.0"]),
    ],
)
def test_revenue_maximizing_refuses_rewards_that_are_not_max_normalised(
    rewards: list[list[float]], words: list[str], tmp_path: Path
) -> None:
    game = pool_game()
    game["prompts"] = [{"base": [0.5, 0.5], "rewards": rewards}]
    path = written(tmp_path, game)
    line = refusal(path, "--payment-rule", "revenue_maximizing", "--out", tmp_path / "out.json")
    for word in words:
        assert word in line
    assert "payments" in solved(path)


def test_revenue_maximizing_refuses_a_game_of_candidates(tmp_path: Path) -> None:
    path = written(tmp_path, candidates_game())
    assert "kind: " in refusal(path, "--payment-rule", "revenue_maximizing")
