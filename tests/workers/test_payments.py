"""Choices among candidates, payments, money, and rewards from scores."""

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.amounts import largest_gain_micro_units, payment_micro_units
from api_schemas.errors import BadReport
from workers.mechanism.candidates import choose, eligible_candidates
from workers.mechanism.methods import COUNTERFACTUALS, guarantee, priced_worlds
from workers.mechanism.normalise import ScoreRange, score_range, to_rewards
from workers.mechanism.payments import (
    affine_maximizer,
    negative_payments,
    optimality_gap,
    shared_candidates_gain,
)
from workers.mechanism.worlds import GRAND, WorldValues

ORACLE = Path(__file__).parents[2] / ".." / "shared" / "oracle"
QUICK = settings(max_examples=60, deadline=None)


def oracle_games() -> list[Any]:
    found = [json.loads(path.read_text()) for path in sorted(ORACLE.glob("game*.json"))]
    games = [case for case in found if case["game"]["kind"] == "candidates"]
    return games or [pytest.param(None, marks=pytest.mark.skip(f"no candidate games in {ORACLE}"))]


@pytest.mark.parametrize("case", oracle_games())
def test_candidate_games_agree_with_exhaustive_search(case: dict[str, Any]) -> None:
    game, expected = case["game"], case["expected"]
    valuations_KN = np.array(game["valuations"]).T
    everything_WK = np.ones((len(game["sizes"]) + 1, len(valuations_KN)), dtype=bool)
    choice = choose(game["sizes"], valuations_KN, np.array(game["penalties"]), everything_WK)
    payments = affine_maximizer(game["sizes"], choice.values)
    assert choice.candidate_W[GRAND] == expected["choice"]
    found = {
        "valuations": choice.values.valuations_WN[GRAND],
        "divergence_penalty": choice.values.penalties_W[GRAND],
        "welfare": choice.welfare_W[GRAND],
        "welfare_without": payments.others_welfare_without_N,
        "payments": payments.payments_N,
        "utilities": payments.utilities_N,
    }
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)


def test_a_world_without_a_group_may_choose_only_what_the_groups_report_has_not_touched() -> None:
    # π₀, of both groups, without 0, without 1, another of both
    touched_KN = np.array([[0, 0], [1, 1], [0, 1], [1, 0], [1, 1]], dtype=bool)
    expected = [
        [True, True, True, True, True],
        [True, False, True, False, False],
        [True, False, False, True, False],
    ]
    np.testing.assert_array_equal(eligible_candidates(touched_KN), expected)


@pytest.mark.parametrize(
    ("touched_KN", "message"),
    [
        (np.array([[True, False]]), "the initial model is missing"),
        (np.zeros((0, 2), dtype=bool), "is missing"),
        (np.array([[0.0, 1.0]]), r"shape \(1, 2\) of float64, expected \(K, N\) of bool"),
        (np.array([True]), r"shape \(1,\)"),
    ],
)
def test_candidates_that_all_carry_a_report_are_refused(touched_KN: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        eligible_candidates(touched_KN)


def random_candidates(seed: int, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    rng = np.random.default_rng(seed)
    touched_KN = rng.random((1 + int(rng.integers(0, 8)), groups)) < 0.5
    touched_KN[0] = False
    penalties_K = np.append(0.0, rng.exponential(3.0, len(touched_KN) - 1))
    valuations_KN = rng.random(touched_KN.shape)
    sizes_N = rng.integers(1, 20, groups).astype(float)
    return sizes_N, valuations_KN, penalties_K, eligible_candidates(touched_KN)


@QUICK
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_nobody_loses_by_taking_part_however_badly_training_went(seed: int, groups: int) -> None:
    sizes_N, valuations_KN, penalties_K, mask_WK = random_candidates(seed, groups)
    choice = choose(sizes_N, valuations_KN, penalties_K, mask_WK)
    utilities_N = affine_maximizer(sizes_N, choice.values).utilities_N
    assert (utilities_N >= -1e-12 * sizes_N.sum()).all()


@QUICK
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_a_payment_is_the_others_loss_recounted_group_by_group(seed: int, groups: int) -> None:
    sizes_N, valuations_KN, penalties_K, mask_WK = random_candidates(seed, groups)
    choice = choose(sizes_N, valuations_KN, penalties_K, mask_WK)
    payments = affine_maximizer(sizes_N, choice.values)
    for i in range(groups):
        others = [j for j in range(groups) if j != i]
        welfare_K = [
            sum(sizes_N[j] * valuations_KN[k, j] for j in others) - penalties_K[k]
            for k in range(len(penalties_K))
        ]
        best = max(w for w, allowed in zip(welfare_K, mask_WK[1 + i], strict=True) if allowed)
        expected = best - welfare_K[choice.candidate_W[GRAND]]
        assert payments.payments_N[i] == pytest.approx(expected, abs=1e-12 * sizes_N.sum())


def test_a_tie_goes_to_the_first_candidate() -> None:
    choice = choose(
        np.array([2.0]),
        np.array([[0.5], [0.9], [0.9]]),
        np.array([0.0, 0.8, 0.8]),
        np.ones((2, 3), dtype=bool),
    )
    # 2·0.5 − 0 = 2·0.9 − 0.8 = 1
    assert choice.candidate_W.tolist() == [0, 0]


def test_a_group_whose_removal_changes_no_choice_pays_exactly_nothing() -> None:
    sizes_N, valuations_KN = np.array([3.0, 7.0, 5.0]), np.array([[0.1, 0.7, 0.3]] * 4)
    world = WorldValues(valuations_KN, np.full(4, 0.123456789))
    assert affine_maximizer(sizes_N, world).payments_N.tolist() == [0.0, 0.0, 0.0]


def test_a_negative_payment_is_shown_as_it_is() -> None:
    # Training without group 0 went astray: p₀ = (5·0.2 − 3) − 5·0.6 = −5.
    worlds = WorldValues(np.array([[0.5, 0.6], [0.0, 0.2], [0.5, 0.6]]), np.array([0.0, 3.0, 0.0]))
    payments_N = affine_maximizer(np.array([3, 5]), worlds).payments_N
    np.testing.assert_allclose(payments_N, [-5.0, 0.0])
    assert negative_payments(payments_N, np.array([3.0, 5.0])).tolist() == [True, False]
    assert not negative_payments(np.array([-1e-15]), np.array([3.0])).any()


def test_every_method_prices_the_worlds_it_promises() -> None:
    optimum = WorldValues(np.full((3, 2), 0.9), np.array([1.0, 2.0, 3.0]))
    trained = WorldValues(np.full((3, 2), 0.1), np.array([4.0, 5.0, 6.0]))
    penalties = {
        name: priced_worlds(method, optimum, trained).penalties_W.tolist()
        for name, method in COUNTERFACTUALS.items()
    }
    trained_only = [4.0, 5.0, 6.0]
    assert penalties == {
        "closed_form": [1.0, 2.0, 3.0],
        "bound": [4.0, 2.0, 3.0],
        "retrain": trained_only,
        "early_stop": trained_only,
        "checkpoints": trained_only,
        "soup": trained_only,
    }
    assert priced_worlds(COUNTERFACTUALS["closed_form"], optimum, None) is optimum
    with pytest.raises(ValueError, match="'bound' prices trained models"):
        priced_worlds(COUNTERFACTUALS["bound"], optimum, None)


def test_a_guarantee_says_what_taking_part_may_cost() -> None:
    never, at_most = "never costs more than it is worth", "at most the certificate more"
    for name, method in COUNTERFACTUALS.items():
        assert (never if name != "bound" else at_most) in guarantee(method, "affine_maximizer")
        with_surcharge = guarantee(method, "revenue_maximizing")
        assert "surcharge" in with_surcharge
        assert (never if name == "closed_form" else at_most) in with_surcharge
    assert "Not truthful" in guarantee(COUNTERFACTUALS["checkpoints"], "affine_maximizer")


@QUICK
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_no_set_of_shared_checkpoints_lets_a_report_gain_more_than_its_bound(
    seed: int, groups: int
) -> None:
    """A report may replace every checkpoint but π₀, and the choice among them."""
    rng = np.random.default_rng(seed)
    sizes_N = rng.integers(1, 20, groups).astype(float)
    everything_WK = np.ones((groups + 1, 5), dtype=bool)

    def checkpoints() -> tuple[np.ndarray, np.ndarray]:
        return rng.random((5, groups)), np.append(0.0, rng.exponential(3.0, 4))

    initial_N = rng.random(groups)
    sets = [checkpoints() for _ in range(20)]
    for valuations_KN, _ in sets:
        valuations_KN[0] = initial_N
    best = max(float((v @ sizes_N - d).max()) for v, d in sets)  # ASW* is at least this
    truth = choose(sizes_N, *sets[0], everything_WK)
    initial_without_N = initial_N @ sizes_N - initial_N * sizes_N
    gap = best - float(truth.welfare_W[GRAND])
    bound = shared_candidates_gain(gap, truth.welfare_W[1:], initial_without_N)
    honest_N = affine_maximizer(sizes_N, truth.values).utilities_N
    for valuations_KN, penalties_K in sets:
        lied = choose(sizes_N, valuations_KN, penalties_K, everything_WK)
        # any candidate may be what the lie makes the grand world choose
        for k in range(5):
            grand = float(valuations_KN[k] @ sizes_N - penalties_K[k])
            assert (grand - lied.welfare_W[1:] - honest_N <= bound + 1e-9).all()


def test_a_gap_is_never_negative_and_a_welfare_above_the_optimum_is_an_error() -> None:
    assert optimality_gap(5.0, 4.5, scale=10) == 0.5
    assert optimality_gap(5.0, 5.0 + 1e-13, scale=10) == 0.0
    with pytest.raises(ValueError, match=r"5\.1 exceeds the optimum 5\.0"):
        optimality_gap(5.0, 5.1, scale=10)
    with pytest.raises(ValueError, match="nan exceeds"):
        optimality_gap(5.0, math.nan, scale=10)


@given(st.floats(-1e12, 1e12), st.integers(0, 10**15))
def test_money_is_the_exact_product_rounded_towards_the_group(payment: float, price: int) -> None:
    amount = payment_micro_units(payment, price)
    assert isinstance(amount, int)
    assert amount <= Fraction(payment) * price < amount + 1
    bound = largest_gain_micro_units(payment, price)
    assert bound - 1 < Fraction(payment) * price <= bound


def test_money_takes_no_rounding_from_a_float_product() -> None:
    # 0.1 holds 0.1000000000000000055…, so 10 of them exceed 1; 0.3 holds 0.299999999999999988….
    assert payment_micro_units(0.1, 10) == 1
    assert payment_micro_units(0.3, 10) == 2  # 0.3 · 10 == 3.0 in floats
    assert payment_micro_units(-0.1, 1) == -1
    assert payment_micro_units(np.float64(2.5), 3) == 7
    for worthless in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="no amount of money"):
            payment_micro_units(worthless, 1)
    with pytest.raises(ValueError, match="-1 is negative"):
        payment_micro_units(1.0, -1)


@QUICK
@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=12))
def test_rewards_reach_from_0_to_1_in_the_order_of_the_scores(scores: list[float]) -> None:
    found = score_range([scores], "grp_a")
    rewards_XJ, clipped = to_rewards([scores], found, "grp_a")
    assert clipped == 0.0
    if found.constant:
        assert not rewards_XJ.any()
    else:
        assert rewards_XJ.min() == 0.0
        assert rewards_XJ.max() == 1.0
        order = np.argsort(scores, kind="stable")
        assert (np.diff(rewards_XJ[0][order]) >= 0).all()


def test_other_samples_are_clipped_to_the_pools_range_and_counted() -> None:
    rewards_XJ, clipped = to_rewards([[1.0, 2.0, 9.0], [4.0, 3.0, -7.0]], ScoreRange(2, 4), "g")
    np.testing.assert_array_equal(rewards_XJ, [[0.0, 0.0, 1.0], [1.0, 0.5, 0.0]])
    assert clipped == 3 / 6
    rewards_XJ, clipped = to_rewards([[1.0, 2.0]], ScoreRange(2, 2), "g")
    np.testing.assert_array_equal(rewards_XJ, [[0.0, 0.0]])
    assert clipped == 1 / 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_named_by_group_prompt_and_response(bad: float) -> None:
    scores = [[0.0, 1.0, 2.0], [0.0, bad, bad]]
    with pytest.raises(BadReport, match=rf"grp_a.*response 1 to prompt 1 is {bad}; 2 of 6"):
        score_range(scores, "grp_a")
    with pytest.raises(BadReport, match="grp_b"):
        to_rewards(scores, ScoreRange(0, 1), "grp_b")


def test_scores_whose_range_overflows_are_refused() -> None:
    with pytest.raises(BadReport, match=r"-1e\+308 to 1\.7e\+308 span more"):
        score_range([[-1e308, 1.7e308]], "grp_a")
