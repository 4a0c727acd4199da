"""The rest of docs/mechanism.md §9: limits of λ, groups without influence, finite sets of models.

What `test_mechanism` proves of the closed form, and `test_audit` of misreports, is not repeated.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from random_games import (
    THOROUGH,
    games,
    games_of,
    random_game,
    random_rewards,
    regularizers,
    seeds,
    settle,
)

from workers.mechanism.arrays import Floats
from workers.mechanism.candidates import Choice, choose
from workers.mechanism.closed_form import solve
from workers.mechanism.normalise import score_range, to_rewards
from workers.mechanism.payments import Payments, affine_maximizer
from workers.mechanism.worlds import GRAND, PoolGame


def with_group(game: PoolGame, size: int, rewards_XJ: Floats) -> PoolGame:
    """The game with one group more, which comes last."""
    return replace(
        game,
        sizes_N=np.append(game.sizes_N, size),
        rewards_NXJ=np.concatenate([game.rewards_NXJ, rewards_XJ[None]]),
    )


@THOROUGH
@given(games, st.floats(-1e6, 1e6), st.integers(1, 20))
def test_a_constant_reward_model_pays_exactly_nothing_and_changes_nothing(
    game: PoolGame, score: float, size: int
) -> None:
    scores_XJ = np.full(game.log_q_XJ.shape, score)
    rewards_XJ, _ = to_rewards(scores_XJ, score_range(scores_XJ, "grp_a"), "grp_a")
    solution, payments = settle(with_group(game, size, rewards_XJ))
    assert payments.payments_N[-1] == 0.0
    np.testing.assert_array_equal(solution.log_policy_XJ, solve(game).log_policy_XJ)


@THOROUGH
@given(games, seeds, st.integers(1, 20))
def test_a_group_that_prefers_no_response_to_another_of_its_prompt_pays_nothing(
    game: PoolGame, seed: int, size: int
) -> None:
    """It prefers prompts only, so leaving it out changes no choice."""
    levels_X1 = np.random.default_rng(seed).random((len(game.prompt_weights_X), 1))
    rewards_XJ = np.broadcast_to(levels_X1, game.log_q_XJ.shape)
    found = with_group(game, size, rewards_XJ)
    solution, payments = settle(found)
    rounding = 1e-13 * found.sizes_N.sum()
    assert payments.payments_N[-1] == pytest.approx(0.0, abs=rounding)
    np.testing.assert_allclose(
        np.exp(solution.log_policy_XJ),
        np.exp(solve(game).log_policy_XJ),
        atol=1e-15 + rounding / game.coefficient,
    )


@THOROUGH
@given(games_of(least_groups=2), seeds)
def test_a_group_that_wants_what_the_others_choose_anyway_pays_nothing(
    game: PoolGame, seed: int
) -> None:
    """Everybody's best response is the same, by at least 0.8, and λ too small to hold it back."""
    best_X = np.random.default_rng(seed).integers(0, game.log_q_XJ.shape[1], len(game.log_q_XJ))
    rewards_NXJ = 0.2 * game.rewards_NXJ
    rewards_NXJ[:, np.arange(len(best_X)), best_X] = 1.0
    solution, payments = settle(replace(game, rewards_NXJ=rewards_NXJ, coefficient=1e-3))
    np.testing.assert_array_equal(solution.log_policy_XJ.argmax(axis=1), best_X)
    # L2 puts all weight on one response in every world. Under KL e^−800 of it stays elsewhere.
    assert payments.payments_N.tolist() == [0.0] * game.groups


@THOROUGH
@given(seeds, st.integers(1, 5), regularizers)
def test_a_vanishing_coefficient_gives_the_argmax_and_its_externality(
    seed: int, groups: int, regularizer: str
) -> None:
    game = random_game(seed, groups, 1e-6, regularizer)
    welfare_NXJ = game.sizes_N[:, None, None] * game.rewards_NXJ
    total_XJ = welfare_NXJ.sum(axis=0)
    ranked_XJ = np.sort(total_XJ, axis=1)
    assume((ranked_XJ[:, -1] - ranked_XJ[:, -2]).min() > 1e-3)  # else λ decides between two
    best_X = total_XJ.argmax(axis=1)
    solution, payments = settle(game)
    policy_XJ = np.exp(solution.log_policy_XJ)
    np.testing.assert_allclose(policy_XJ, np.eye(total_XJ.shape[1])[best_X], atol=1e-12)
    for i in range(groups):
        others_XJ = total_XJ - welfare_NXJ[i]
        loss_X = others_XJ.max(axis=1) - others_XJ[np.arange(len(best_X)), best_X]
        # λ·D ≤ λ·log(1/q) ≤ 1e-6·21, and at most 2e-6 under L2, in each of the two worlds
        assert payments.payments_N[i] == pytest.approx(game.prompt_weights_X @ loss_X, abs=5e-5)


@THOROUGH
@given(games, st.floats(1.0, 6.0).map(lambda exponent: 10.0**exponent))
def test_payments_and_drift_vanish_as_fast_as_one_over_the_coefficient(
    game: PoolGame, coefficient: float
) -> None:
    """KL: D ≤ (Σw)²/(8λ²)·(1 + o(1)) by Hoeffding's lemma; L2: D ≤ ‖S‖²/(4λ²), λ·D bounds p."""
    solution, payments = settle(replace(game, coefficient=coefficient))
    total = game.sizes_N.sum()
    bound = (total / coefficient) ** 2 * game.log_q_XJ.shape[1]
    assert (solution.divergence_W <= bound + 1e-15).all()
    assert (payments.payments_N <= coefficient * bound + 1e-12 * total).all()


@dataclass(frozen=True, eq=False)
class FiniteGame:
    """A choice among K models whose set no report can change; model 0 is π₀."""

    sizes_N: Floats
    valuations_KN: Floats
    divergence_K: Floats
    coefficient: float

    def settle(self) -> tuple[Choice, Payments]:
        everything_WK = np.ones((len(self.sizes_N) + 1, len(self.divergence_K)), dtype=bool)
        penalties_K = self.coefficient * self.divergence_K
        choice = choose(self.sizes_N, self.valuations_KN, penalties_K, everything_WK)
        return choice, affine_maximizer(self.sizes_N, choice.values)

    @property
    def rounding(self) -> float:
        return 1e-13 * float(self.sizes_N.sum() + self.coefficient * self.divergence_K.max())


def random_finite_game(seed: int, groups: int, coefficient: float) -> FiniteGame:
    rng = np.random.default_rng(seed)
    models = int(rng.integers(1, 9))
    return FiniteGame(
        sizes_N=rng.integers(1, 20, groups).astype(float),
        valuations_KN=random_rewards(rng, (groups, 1, models + 1))[:, 0, :models].T,
        divergence_K=np.append(0.0, rng.exponential(2.0, models - 1)),
        coefficient=coefficient,
    )


finite_games = st.builds(
    random_finite_game,
    seed=seeds,
    groups=st.integers(1, 5),
    coefficient=st.floats(-2.0, 3.0).map(lambda exponent: 10.0**exponent),
)


@THOROUGH
@given(finite_games)
def test_the_best_of_finitely_many_models_costs_nobody_more_than_it_brings(
    game: FiniteGame,
) -> None:
    choice, payments = game.settle()
    assert (payments.payments_N >= -game.rounding).all()
    assert (payments.utilities_N >= -game.rounding).all()
    same_N = choice.candidate_W[1:] == choice.candidate_W[GRAND]
    assert (payments.payments_N[same_N] == 0.0).all()


@THOROUGH
@given(finite_games, seeds)
def test_no_report_of_values_or_size_gains_where_models_are_finitely_many(
    game: FiniteGame, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    i = int(rng.integers(len(game.sizes_N)))
    honest = game.settle()[1].utilities_N[i]
    true_size, true_K = game.sizes_N[i], game.valuations_KN[:, i]
    for size in (1, true_size, 2 * true_size, 1000 * true_size):
        for told_K in (true_K, true_K**4, 1 - true_K, rng.random(len(true_K)), 0 * true_K):
            sizes_N, valuations_KN = game.sizes_N.copy(), game.valuations_KN.copy()
            sizes_N[i], valuations_KN[:, i] = size, told_K
            lied = replace(game, sizes_N=sizes_N, valuations_KN=valuations_KN)
            choice, payments = lied.settle()
            value = true_size * true_K[choice.candidate_W[GRAND]]
            assert value - payments.payments_N[i] <= honest + 1e-9


@THOROUGH
@given(finite_games, seeds)
def test_the_order_of_reports_does_not_matter_to_a_choice_among_models(
    game: FiniteGame, seed: int
) -> None:
    order_N = np.random.default_rng(seed).permutation(len(game.sizes_N))
    shuffled = replace(
        game, sizes_N=game.sizes_N[order_N], valuations_KN=game.valuations_KN[:, order_N]
    )
    (choice, payments), (found, found_payments) = game.settle(), shuffled.settle()
    worlds = [GRAND, *(1 + order_N)]
    np.testing.assert_allclose(found.welfare_W, choice.welfare_W[worlds], atol=game.rounding)
    if (found.candidate_W == choice.candidate_W[worlds]).all():  # else two models tie
        expected_N = payments.payments_N[order_N]
        np.testing.assert_allclose(found_payments.payments_N, expected_N, atol=game.rounding)


@THOROUGH
@given(finite_games, seeds)
def test_a_constant_added_to_a_groups_values_changes_no_payment_for_a_model(
    game: FiniteGame, seed: int
) -> None:
    valuations_KN = game.valuations_KN.copy()
    valuations_KN[:, 0] += np.random.default_rng(seed).random()
    raised = replace(game, valuations_KN=valuations_KN)
    (choice, payments), (found, found_payments) = game.settle(), raised.settle()
    if (found.candidate_W == choice.candidate_W).all():  # else two models tie
        np.testing.assert_allclose(
            found_payments.payments_N, payments.payments_N, atol=2 * game.rounding
        )
    else:
        gap_W = welfare_of(game, found.candidate_W) - choice.welfare_W
        assert np.abs(gap_W).max() <= 2 * game.rounding


def welfare_of(game: FiniteGame, candidate_W: np.ndarray) -> Floats:
    """ASW of a given model in every world."""
    weights_WN = np.vstack([np.ones(len(game.sizes_N)), 1 - np.eye(len(game.sizes_N))])
    penalties_W = game.coefficient * game.divergence_K[candidate_W]
    values_WN: Floats = weights_WN * game.sizes_N * game.valuations_KN[candidate_W]
    return values_WN.sum(axis=1) - penalties_W


@THOROUGH
@given(finite_games)
def test_a_large_coefficient_keeps_the_initial_model_among_finitely_many(game: FiniteGame) -> None:
    costly = replace(
        game, divergence_K=game.divergence_K + 0.1 * (np.arange(len(game.divergence_K)) > 0)
    )
    # any other model costs 0.1·1e4, more than the 95 agents there can be would gain
    choice, payments = replace(costly, coefficient=1e4).settle()
    assert choice.candidate_W.tolist() == [0] * len(choice.candidate_W)
    assert payments.payments_N.tolist() == [0.0] * len(payments.payments_N)
