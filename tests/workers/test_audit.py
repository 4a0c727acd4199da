"""The incentive audit's arithmetic: what a lie brings its group, judged by the truth."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_games import THOROUGH, games, random_game, seeds, settle, with_report

from workers.mechanism.arrays import Floats
from workers.mechanism.audit import FittedLie, Lie, Replay, Told, fit_lie, others_mean
from workers.mechanism.normalise import ScoreRange, score_range, to_rewards
from workers.mechanism.revenue import surcharges
from workers.mechanism.worlds import PoolGame

MAX_SIZE = 100
LIES = [
    *(Lie("deflate", alpha) for alpha in (0.01, 0.25, 0.5, 0.75)),
    *(Lie("inflate", alpha) for alpha in (1.25, 1.5, 2.0, 3.0, 5.0, 1e6)),
    *(Lie("sharpen", beta) for beta in (0.01, 0.25, 0.5, 2.0, 4.0, 8.0, 1e6)),
    *(Lie("oppose", beta) for beta in (0.25, 0.5, 1.0, 2.0, 1e6)),
    Lie("spike"),
]


def told_by(game: PoolGame, group: int, surcharge: float | None = None) -> Iterator[Told]:
    """What every lie brings the group; nothing of those that are refused."""
    replay = Replay(game, group, MAX_SIZE, surcharge)
    return (told for lie in LIES if (told := replay.tell(lie)) is not None)


def solved_anew(game: PoolGame, group: int, size: int, told_XJ: Floats) -> Told:
    """The whole mechanism on the changed reports, world by world, and the true valuation."""
    solution, payments = settle(with_report(game, group, size, told_XJ))
    policy_XJ, true_XJ = np.exp(solution.log_policy_XJ), game.rewards_NXJ[group]
    value = float(np.einsum("x,xj,xj->", game.prompt_weights_X, policy_XJ, true_XJ))
    payment, worth = float(payments.payments_N[group]), float(game.sizes_N[group]) * value
    return Told(size, value, payment, worth - payment, worth)


def normalised(game: PoolGame) -> PoolGame:
    """With rewards of every group from 0 to 1, where `revenue_maximizing` is defined."""
    rewards_NXJ = game.rewards_NXJ.copy()
    rewards_NXJ[:, 0, 0], rewards_NXJ[:, -1, -1] = 0.0, 1.0
    return replace(game, rewards_NXJ=rewards_NXJ)


def figures(told: Told) -> list[float]:
    return [told.valuation, told.payment, told.utility, told.utility_without_payments]


@THOROUGH
@given(games, seeds, st.sampled_from(LIES))
def test_a_replay_is_the_whole_mechanism_on_the_changed_reports(
    game: PoolGame, seed: int, lie: Lie
) -> None:
    group = seed % game.groups
    own_XJ, mean_XJ = game.rewards_NXJ[group], others_mean(game.rewards_NXJ, group)
    told_XJ = own_XJ if lie.of_size else fit_lie(lie, own_XJ, mean_XJ)(own_XJ, mean_XJ)
    size = lie.reported_size(int(game.sizes_N[group]), MAX_SIZE)
    expected = solved_anew(game, group, size, told_XJ)
    found = Replay(game, group, MAX_SIZE).tell(lie)
    assert found is not None
    assert found.reported_size == size
    np.testing.assert_allclose(figures(found), figures(expected), atol=1e-9)


@THOROUGH
@given(games)
def test_the_replay_of_the_truth_is_the_settled_round(game: PoolGame) -> None:
    for group in range(game.groups):
        size, true_XJ = int(game.sizes_N[group]), game.rewards_NXJ[group]
        expected = solved_anew(game, group, size, true_XJ)
        found = Replay(game, group, MAX_SIZE).truth()
        np.testing.assert_allclose(figures(found), figures(expected), atol=1e-10)


@THOROUGH
@given(games, seeds)
def test_with_payments_no_lie_gains_more_than_1e_9(game: PoolGame, seed: int) -> None:
    group = seed % game.groups
    honest = Replay(game, group, MAX_SIZE).truth().utility
    assert honest >= -1e-9
    assert max(told.utility for told in told_by(game, group)) <= honest + 1e-9


@THOROUGH
@given(games, seeds)
def test_with_a_surcharge_no_accepted_lie_gains_more_than_1e_9(game: PoolGame, seed: int) -> None:
    group, inside = seed % game.groups, normalised(game)
    surcharge = float(surcharges(inside)[group])
    honest = Replay(inside, group, MAX_SIZE, surcharge).truth().utility
    assert honest >= -1e-9
    assert max(told.utility for told in told_by(inside, group, surcharge)) <= honest + 1e-9


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_without_payments_exaggeration_gains_where_tastes_conflict(regularizer: str) -> None:
    # r = (1, 0) and (0, 1), w = (1, 2), λ = 4: the policy is 1/2 + f(S₀ − S₁), f increasing, so
    # every agent that a group invents moves it the group's way, and pays more than it is worth.
    game = PoolGame(
        log_q_XJ=np.log([[0.5, 0.5]]),
        prompt_weights_X=np.ones(1),
        coefficient=4.0,
        sizes_N=np.array([1.0, 2.0]),
        rewards_NXJ=np.array([[[1.0, 0.0]], [[0.0, 1.0]]]),
        regularizer=regularizer,
    )
    replay = Replay(game, 0, MAX_SIZE)
    honest, lied = replay.truth(), replay.tell(Lie("inflate", 3.0))
    assert lied is not None
    # KL: logistic(ΔS/λ) at ΔS = −1 and 1. L2: 1/2 + ΔS/(4λ), as each is projected alike.
    values = {"kl": [1 / (1 + np.exp(0.25)), 1 / (1 + np.exp(-0.25))], "l2": [7 / 16, 9 / 16]}
    assert [honest.valuation, lied.valuation] == pytest.approx(values[regularizer])
    assert lied.reported_size == 3
    assert lied.utility_without_payments > honest.utility_without_payments + 0.1
    assert lied.utility < honest.utility - 0.01


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_without_payments_some_lie_gains_in_most_games_of_two_groups(regularizer: str) -> None:
    """SCWCD Theorem 3.3, counted over 200 games; λ from 1 to 100, where the reports matter."""
    gaining = 0
    for seed in range(200):
        game = random_game(seed, 2, 10.0 ** np.random.default_rng(seed).uniform(0, 2), regularizer)
        honest = Replay(game, 1, MAX_SIZE).truth().utility_without_payments
        best = max(told.utility_without_payments for told in told_by(game, 1))
        gaining += best > honest + 1e-9
    print(f"{regularizer}: without payments a lie gains in {gaining} of 200 games")
    assert gaining >= 150


def test_a_size_is_rounded_half_up_and_kept_between_1_and_the_bound() -> None:
    sizes = {
        (Lie("inflate", 1.5), 3): 5,  # 4.5
        (Lie("inflate", 1.25), 3): 4,  # 3.75
        (Lie("inflate", 1.5), 1): 2,  # 1.5, where rounding half to even gives 2 as well
        (Lie("inflate", 2.5), 1): 3,  # 2.5, where it would give 2
        (Lie("inflate", 5.0), 7): 20,
        (Lie("deflate", 0.5), 5): 3,  # 2.5
        (Lie("deflate", 0.25), 1): 1,  # 0.25
        (Lie("oppose", 3.0), 7): 7,
    }
    assert {key: key[0].reported_size(key[1], 20) for key in sizes} == sizes


def test_every_strategy_distorts_rewards_as_its_formula_says() -> None:
    own, others = np.array([0.0, 0.5, 1.0]), np.array([0.5, 0.25, 1.0])
    np.testing.assert_array_equal(Lie("sharpen", 2.0).distort(own, others), [0.0, 0.25, 1.0])
    np.testing.assert_array_equal(Lie("oppose", 2.0).distort(own, others), [-1.0, 0.0, -1.0])
    np.testing.assert_array_equal(Lie("spike").distort(own, others), [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(Lie("inflate", 2.0).distort(own, others), own)
    # −1 … 0 is normalised to 0 … 1
    told = fit_lie(Lie("oppose", 2.0), own, others)(own, others)
    np.testing.assert_array_equal(told, [0.0, 1.0, 0.0])


def test_the_others_mean_leaves_the_liar_out_and_is_0_without_others() -> None:
    rewards_NXJ = np.array([[[0.0, 1.0]], [[0.5, 0.25]], [[1.0, 0.75]]])
    np.testing.assert_array_equal(others_mean(rewards_NXJ, 0), [[0.75, 0.5]])
    np.testing.assert_array_equal(others_mean(rewards_NXJ[:1], 0), [[0.0, 0.0]])
    own_XJ = rewards_NXJ[0]
    told_XJ = fit_lie(Lie("oppose", 2.0), own_XJ, np.zeros_like(own_XJ))(own_XJ, 0 * own_XJ)
    np.testing.assert_array_equal(told_XJ, own_XJ)


@THOROUGH
@given(games, seeds, st.sampled_from([lie for lie in LIES if not lie.of_size]))
def test_a_lie_is_normalised_as_a_report_is_and_told_elsewhere_on_the_pools_scale(
    game: PoolGame, seed: int, lie: Lie
) -> None:
    own_XJ, mean_XJ = game.rewards_NXJ[0], others_mean(game.rewards_NXJ, 0)
    fitted = fit_lie(lie, own_XJ, mean_XJ)
    raw_XJ = lie.distort(own_XJ, mean_XJ)
    expected_XJ, _ = to_rewards(raw_XJ, score_range(raw_XJ, "liar"), "liar")
    np.testing.assert_array_equal(fitted(own_XJ, mean_XJ), expected_XJ)
    elsewhere_2J = np.random.default_rng(seed).random((2, 5))  # own rewards, and the others' mean
    raw_J = lie.distort(*elsewhere_2J)
    expected_1J, _ = to_rewards(raw_J[None], fitted.range, "liar")
    told_J = fitted(*elsewhere_2J)
    np.testing.assert_allclose(told_J, expected_1J[0], atol=1e-15)
    one_by_one = [fitted(np.array(own), np.array(mean)) for own, mean in elsewhere_2J.T]
    np.testing.assert_array_equal(one_by_one, told_J)


def test_a_lie_that_leaves_no_preference_is_all_zeros_and_refused_where_constants_are() -> None:
    # Both groups want the same; r − 1·r is constant.
    game = random_game(seed=4, groups=2, coefficient=2.0)
    game = replace(game, rewards_NXJ=game.rewards_NXJ[[0, 0]])
    own_XJ, lie = game.rewards_NXJ[0], Lie("oppose", 1.0)
    fitted = fit_lie(lie, own_XJ, own_XJ)
    assert fitted == FittedLie(lie, ScoreRange(0.0, 0.0))
    np.testing.assert_array_equal(fitted(own_XJ, own_XJ), np.zeros_like(own_XJ))
    told = Replay(game, 0, MAX_SIZE).tell(lie)
    assert told is not None
    assert told.payment == 0.0
    for surcharge in (0.0, 0.25):
        replay = Replay(game, 0, MAX_SIZE, surcharge)
        assert replay.tell(lie) is None
        assert replay.tell(Lie("inflate", 2.0)) is not None


def test_a_surcharge_is_paid_whatever_the_report_says() -> None:
    game = normalised(random_game(seed=4, groups=3, coefficient=2.0))
    without, with_ = Replay(game, 1, MAX_SIZE), Replay(game, 1, MAX_SIZE, 0.25)
    assert with_.truth().payment == pytest.approx(without.truth().payment + 0.25, rel=1e-14)
    for lie in LIES:
        before, after = without.tell(lie), with_.tell(lie)
        assert before is not None
        assert after is not None
        assert after.payment == pytest.approx(before.payment + 0.25, abs=1e-13)
        assert after.utility == pytest.approx(before.utility - 0.25, abs=1e-13)
        assert after.utility_without_payments == before.utility_without_payments


def test_what_is_no_lie_or_no_group_is_refused_with_the_value() -> None:
    with pytest.raises(ValueError, match="strategy = 'shout', expected one of"):
        Lie("shout")
    for parameter in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"parameter = {parameter} is not positive"):
            Lie("inflate", parameter)
    game = random_game(seed=4, groups=2, coefficient=2.0)
    for group in (-1, 2):
        with pytest.raises(ValueError, match=f"group = {group}, expected 0 to 1"):
            Replay(game, group, MAX_SIZE)
