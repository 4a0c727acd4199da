"""The revenue-maximising payment: the surcharge is the least that a truthful group could keep."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_streaming import games, streamed

from workers.mechanism.closed_form import solve
from workers.mechanism.payments import Payments, affine_maximizer
from workers.mechanism.revenue import (
    gain_of_a_response,
    outside_domain,
    revenue_maximizing,
    surcharges,
)
from workers.mechanism.worlds import PoolGame

THOROUGH = settings(max_examples=500, deadline=None)


def utility(game: PoolGame, i: int, size: float, reward_XJ: np.ndarray) -> float:
    """uᵢ when that is what i is and reports."""
    sizes_N, rewards_NXJ = game.sizes_N.copy(), game.rewards_NXJ.copy()
    sizes_N[i], rewards_NXJ[i] = size, reward_XJ
    changed = replace(game, sizes_N=sizes_N, rewards_NXJ=rewards_NXJ)
    return float(affine_maximizer(sizes_N, solve(changed).values).utilities_N[i])


def rounding(game: PoolGame) -> float:
    return 1e-12 * (game.sizes_N.sum() + game.coefficient)


@settings(max_examples=100, deadline=None)
@given(games)
def test_the_surcharge_is_the_least_utility_of_all_single_responses(game: PoolGame) -> None:
    for i, surcharge in enumerate(surcharges(game)):
        spikes = np.eye(game.log_q_XJ.size).reshape(-1, *game.log_q_XJ.shape)
        least = min(utility(game, i, 1.0, spike_XJ) for spike_XJ in spikes)
        assert surcharge == pytest.approx(least, abs=2 * rounding(game))


@THOROUGH
@given(games, st.integers(0, 2**32 - 1))
def test_no_report_within_the_domain_has_a_utility_below_the_surcharge(
    game: PoolGame, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    i = int(rng.integers(game.groups))
    reward_XJ = rng.random(game.log_q_XJ.shape) ** rng.exponential(3.0)
    reward_XJ /= reward_XJ.max()
    size = float(rng.integers(1, 30))
    assert utility(game, i, size, reward_XJ) >= surcharges(game)[i] - rounding(game)


@THOROUGH
@given(games)
def test_two_ways_of_computing_surcharges_agree(game: PoolGame) -> None:
    found_N = streamed(game).surcharges_N
    assert found_N is not None
    np.testing.assert_allclose(found_N, surcharges(game), rtol=1e-8, atol=rounding(game))
    assert (found_N >= 0).all()


@THOROUGH
@given(games, st.integers(0, 2**32 - 1))
def test_the_surcharge_is_free_of_the_groups_own_report(game: PoolGame, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rewards_NXJ, sizes_N = game.rewards_NXJ.copy(), game.sizes_N.copy()
    rewards_NXJ[0], sizes_N[0] = rng.random(game.log_q_XJ.shape), rng.integers(1, 50)
    other = replace(game, rewards_NXJ=rewards_NXJ, sizes_N=sizes_N)
    assert surcharges(other)[0] == surcharges(game)[0]


def test_a_lone_group_is_surcharged_by_the_base_weight_of_the_rarest_response() -> None:
    # Without it π* = q. λ = 1/ln 2, so e^{1/λ} = 2: λ log(1 + 0.1·(2 − 1)) = log₂ 1.1, half as
    # much for a prompt of weight ½; the other prompt's rarest response has weight ½.
    game = PoolGame(
        log_q_XJ=np.log([[0.9, 0.1], [0.5, 0.5]]),
        prompt_weights_X=np.array([0.5, 0.5]),
        coefficient=1 / np.log(2),
        sizes_N=np.array([4.0]),
        rewards_NXJ=np.array([[[1.0, 0.0], [0.0, 0.5]]]),
    )
    assert surcharges(game)[0] == pytest.approx(np.log2(1.1) / 2, rel=1e-14)
    # L2, λ = 1: a = (0.9, 0.1 + ½) is projected to (0.65, 0.35), worth 0.35 − 2·0.25² = 0.225;
    # on the other prompt (0.25, 0.75), worth 0.75 − 2·0.25² = 0.625.
    quadratic = replace(game, coefficient=1.0, regularizer="l2")
    assert surcharges(quadratic)[0] == pytest.approx(0.225 / 2, rel=1e-13)


def test_a_prompt_of_weight_zero_or_an_impossible_response_leaves_no_surcharge() -> None:
    game = PoolGame(
        log_q_XJ=np.log([[0.2, 0.3, 0.5]] * 2),
        prompt_weights_X=np.array([0.5, 0.5]),
        coefficient=1.0,
        sizes_N=np.array([2.0, 3.0]),
        rewards_NXJ=np.array([[[1.0, 0.0, 0.5]] * 2, [[0.0, 0.9, 0.8]] * 2]),
    )
    assert (surcharges(game) > 0).all()
    weightless = replace(game, prompt_weights_X=np.array([1.0, 0.0]))
    assert surcharges(weightless).tolist() == [0.0, 0.0]
    impossible = replace(game, log_q_XJ=np.array([[np.log(0.5), np.log(0.5), -np.inf]] * 2))
    assert surcharges(impossible).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("coefficient", [1e-3, 1e-300])
def test_a_small_coefficient_overflows_nothing(coefficient: float) -> None:
    # λ log(1 + p(e^{1/λ} − 1)) with p = e^{−a/λ}: 1 − a where a < 1, else 0, up to λ·log 2.
    scaled = np.array([0.0, -0.25, -0.999, -1.5, -np.inf])
    expected = [1.0, 0.75, 0.001, 0.0, 0.0]
    np.testing.assert_allclose(
        gain_of_a_response(scaled, coefficient), expected, atol=coefficient * np.log(2)
    )


def test_both_forms_of_the_gain_meet_where_one_takes_over() -> None:
    scaled, edge = np.array([-0.5, -0.9, -1.0, -1.1]), 1 / 700
    below = gain_of_a_response(scaled, edge * (1 - 1e-9))
    above = gain_of_a_response(scaled, edge * (1 + 1e-9))
    np.testing.assert_allclose(above, below, rtol=1e-5, atol=1e-30)
    assert gain_of_a_response(np.array([-1.0]), edge)[0] == pytest.approx(edge * np.log(2))


def test_the_surcharge_moves_from_the_utility_to_the_payment_once() -> None:
    one = np.array([1.0])
    payments = Payments(one, one, payments_N=np.array([0.5]), utilities_N=np.array([2.0]))
    raised = revenue_maximizing(payments, [0.25])
    assert raised.payments_N.tolist() == [0.75]
    assert raised.utilities_N.tolist() == [1.75]
    assert raised.surcharges_N is not None
    assert raised.surcharges_N.tolist() == [0.25]
    with pytest.raises(ValueError, match="hold a surcharge already"):
        revenue_maximizing(raised, [0.25])
    with pytest.raises(ValueError, match=r"surcharges_N has shape \(2,\), expected \(1,\)"):
        revenue_maximizing(payments, [0.25, 0.25])


def test_a_report_outside_the_domain_is_named_with_its_reason() -> None:
    smallest_N, largest_N = np.array([0.0, 0.5, 1.0, 0.2]), np.array([1.0, 0.9, 1.0, 1 - 1e-10])
    reasons = outside_domain(smallest_N, largest_N)
    assert sorted(reasons) == [1, 2]
    assert "largest reward is 0.9" in reasons[1]
    assert "all rewards are 1.0" in reasons[2]


def test_a_response_that_nobodys_absence_revives_still_counts_if_one_agent_more_would() -> None:
    # 2λ = 1, S₋ᵢ = (1.6, 0): a = (2.1, 0.5) is projected to (1, 0), worth 1.6 − ½·½ = 1.35. With 1
    # more on response 1, (2.1, 1.5) goes to (0.8, 0.2), worth 1.28 + 0.2 − ½·0.18 = 1.39.
    game = PoolGame(
        log_q_XJ=np.log([[0.5, 0.5]]),
        prompt_weights_X=np.ones(1),
        coefficient=0.5,
        sizes_N=np.array([2.0, 2.0]),
        rewards_NXJ=np.array([[[0.8, 0.0]], [[0.8, 0.0]]]),
        regularizer="l2",
    )
    np.testing.assert_allclose(surcharges(game), [0.04, 0.04], rtol=1e-12)
    np.testing.assert_allclose(streamed(game).surcharges_N, [0.04, 0.04], rtol=1e-12)
