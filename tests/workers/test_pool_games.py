"""Games on the pool: agreement with an independent optimiser, refusals, sums in log space."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.mechanism.arrays import log_mean_exp, log_sum_exp
from workers.mechanism.closed_form import solve
from workers.mechanism.payments import affine_maximizer
from workers.mechanism.worlds import PoolGame, membership, weighted_rewards

ORACLE = Path(__file__).parents[2] / ".." / "shared" / "oracle"


def oracle_games() -> list[Any]:
    found = [json.loads(path.read_text()) for path in sorted(ORACLE.glob("game*.json"))]
    games = [case for case in found if case["game"]["kind"] == "pool"]
    return games or [pytest.param(None, marks=pytest.mark.skip(f"no pool games in {ORACLE}"))]


@pytest.mark.parametrize("case", oracle_games())
def test_pool_games_agree_with_a_general_purpose_optimiser(case: dict[str, Any]) -> None:
    prompts, expected = case["game"]["prompts"], case["expected"]
    regularizer = case["game"]["regularizer"]
    weights = [prompt.get("weight", 1 / len(prompts)) for prompt in prompts]
    game = PoolGame(
        log_q_XJ=np.log([prompt["base"] for prompt in prompts]),
        prompt_weights_X=np.array(weights),
        coefficient=case["game"][f"{regularizer}_coefficient"],
        sizes_N=np.array(case["game"]["sizes"], dtype=float),
        rewards_NXJ=np.array([prompt["rewards"] for prompt in prompts]).swapaxes(0, 1),
        regularizer=regularizer,
    )
    solution = solve(game)
    payments = affine_maximizer(game.sizes_N, solution.values)
    found = {
        "policies": np.exp(solution.log_policy_XJ),
        "valuations": solution.values.valuations_WN[0],
        "divergence": solution.divergence_W[0],
        "welfare": solution.welfare_W[0],
        "welfare_without": payments.others_welfare_without_N,
        "payments": payments.payments_N,
        "utilities": payments.utilities_N,
    }
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes_N": [1]}, r"sizes_N has shape \(1,\), expected \(2,\)"),
        ({"sizes_N": [1, 0]}, r"sizes_N\[1\] = 0.0 is not a positive integer"),
        ({"sizes_N": [1, 2.5]}, r"sizes_N\[1\] = 2.5 is not a positive integer"),
        ({"coefficient": 0.0}, "coefficient = 0.0"),
        ({"coefficient": np.inf}, "coefficient = inf"),
        ({"prompt_weights_X": [0.5]}, "sum to 0.5"),
        ({"prompt_weights_X": [1.0, 0.0]}, r"has shape \(2,\), expected \(1,\)"),
        ({"log_q_XJ": np.log([[0.5, 0.4]])}, r"log Σ_j q\(j\|x\)\[0\] = -0.105"),
        ({"log_q_XJ": [[np.nan, 0.0]]}, r"log_q_XJ\[0, 0\] = nan"),
        ({"log_q_XJ": [[-np.inf, -np.inf]]}, r"\[0\] = -inf should be 0"),
        ({"rewards_NXJ": np.full((2, 1, 2), 1.5)}, r"\[0, 0, 0\] = 1.5 is outside \[0, 1\]"),
        ({"rewards_NXJ": np.full((2, 1, 2), np.nan)}, "= nan is not finite"),
        ({"rewards_NXJ": np.zeros((2, 2))}, r"shape \(2, 2\), expected \('any', 'any', 'any'\)"),
    ],
)
def test_a_game_that_makes_no_sense_is_refused_with_the_value(
    change: dict[str, Any], message: str
) -> None:
    fields: dict[str, Any] = {
        "log_q_XJ": np.log([[0.5, 0.5]]),
        "prompt_weights_X": [1.0],
        "coefficient": 1.0,
        "sizes_N": [1, 2],
        "rewards_NXJ": np.zeros((2, 1, 2)),
    }
    PoolGame(**fields)
    with pytest.raises(ValueError, match=message):
        PoolGame(**{**fields, **change})


def test_all_worlds_at_once_or_one_by_one_give_the_same_weighted_rewards() -> None:
    sizes_N, rewards_NXJ = np.array([3.0, 5.0, 7.0]), np.random.default_rng(5).random((3, 2, 4))
    all_WXJ = weighted_rewards(sizes_N, rewards_NXJ, membership(3))
    expected_XJ = 3 * rewards_NXJ[0] + 7 * rewards_NXJ[2]
    np.testing.assert_allclose(all_WXJ[2], expected_XJ, rtol=1e-14)  # world 2 is without group 1
    one_XJ = weighted_rewards(sizes_N, rewards_NXJ, membership(3)[2:3])[0]
    np.testing.assert_array_equal(all_WXJ[2], one_XJ)


def test_log_mean_exp_keeps_its_digits_near_zero_and_far_from_it() -> None:
    log_half = np.log([0.5, 0.5])
    # log((1 + e^−2ε)/2) = −ε + ε²/2 + O(ε⁴)
    near = log_mean_exp(log_half, np.array([0.0, -2e-9]))
    assert near == pytest.approx(-1e-9 + 0.5e-18, rel=1e-14, abs=0)
    # log((e^−1000 + e^−1001)/2), whose exponentials underflow
    far = log_mean_exp(log_half, np.array([-1000.0, -1001.0]))
    assert far == pytest.approx(-1000 + np.log((1 + np.exp(-1.0)) / 2), rel=1e-15)
    assert log_sum_exp(np.array([-np.inf, -np.inf])) == -np.inf
