"""The exact mechanism on the pool: docs/mechanism.md §1 and §2, and what follows from them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_games import THOROUGH, games, kl_games, l2_games, random_game, seeds, settle

from workers.mechanism.arrays import Floats
from workers.mechanism.closed_form import optimum, payments_by_expectation, solve
from workers.mechanism.worlds import PoolGame


def naive_welfare(game: PoolGame, policy_XJ: Floats) -> float:
    """ASW by its definition, docs/mechanism.md §1: no logarithm of a sum, no shift."""
    reward_X = np.einsum("n,xj,nxj->x", game.sizes_N, policy_XJ, game.rewards_NXJ)
    if game.regularizer == "kl":
        log_ratio_XJ = np.log(np.maximum(policy_XJ, 1e-300)) - game.log_q_XJ
        divergence_X = (policy_XJ * log_ratio_XJ).sum(axis=1)
    else:
        divergence_X = ((policy_XJ - np.exp(game.log_q_XJ)) ** 2).sum(axis=1)
    return float(game.prompt_weights_X @ (reward_X - game.coefficient * divergence_X))


def without(game: PoolGame, i: int) -> PoolGame:
    return replace(
        game,
        sizes_N=np.delete(game.sizes_N, i),
        rewards_NXJ=np.delete(game.rewards_NXJ, i, axis=0),
    )


@THOROUGH
@given(games)
def test_exact_payments_and_utilities_are_never_negative(game: PoolGame) -> None:
    _, payments = settle(game)
    rounding = 1e-12 * game.sizes_N.sum()
    assert (payments.payments_N >= -rounding).all()
    assert (payments.utilities_N >= -rounding).all()


@THOROUGH
@given(kl_games)
def test_both_payment_formulas_agree_to_1e_9(game: PoolGame) -> None:
    solution, payments = settle(game)
    expected_N = payments_by_expectation(game, solution.log_policy_XJ)
    # Relative to p; the absolute part covers p ~ w²/λ so small that ASW's own digits end there.
    absolute = 1e-14 * game.sizes_N.sum()
    np.testing.assert_allclose(payments.payments_N, expected_N, rtol=1e-9, atol=absolute)


@THOROUGH
@given(kl_games)
def test_a_payment_is_lambda_times_the_divergence_from_the_policy_without_the_group(
    game: PoolGame,
) -> None:
    # ASW₋ᵢ(π) = ASW₋ᵢ(π*₋ᵢ) − λ KL(π ‖ π*₋ᵢ) for every π; at π = π* the difference is pᵢ.
    solution, payments = settle(game)
    policy_XJ = np.exp(solution.log_policy_XJ)
    for i in range(game.groups):
        log_without_XJ = optimum(game, 1 + i).log_policy_XJ
        kl_X = (policy_XJ * (solution.log_policy_XJ - log_without_XJ)).sum(axis=1)
        expected = game.coefficient * float(game.prompt_weights_X @ kl_X)
        assert payments.payments_N[i] == pytest.approx(expected, rel=1e-8, abs=1e-11)


@THOROUGH
@given(l2_games)
def test_an_l2_payment_is_at_least_lambda_times_the_distance_it_causes(game: PoolGame) -> None:
    # ASW₋ᵢ is λ-strongly concave with its maximum at π*₋ᵢ, so that
    # ASW₋ᵢ(π*₋ᵢ) − ASW₋ᵢ(π) ≥ λ ‖π − π*₋ᵢ‖², with equality where π*₋ᵢ is inside the simplex.
    solution, payments = settle(game)
    rounding = 1e-13 * game.sizes_N.sum()
    for i in range(game.groups):
        without_XJ = np.exp(optimum(game, 1 + i).log_policy_XJ)
        square_X = ((np.exp(solution.log_policy_XJ) - without_XJ) ** 2).sum(axis=1)
        least = game.coefficient * float(game.prompt_weights_X @ square_X)
        assert payments.payments_N[i] >= least - rounding
        if (without_XJ > 0).all():
            assert payments.payments_N[i] == pytest.approx(least, rel=1e-9, abs=rounding)


@THOROUGH
@given(games, seeds)
def test_no_policy_has_more_welfare_than_the_closed_form(game: PoolGame, seed: int) -> None:
    best = optimum(game)
    rng = np.random.default_rng(seed)
    prompts, responses = game.log_q_XJ.shape
    for concentration in (0.1, 1.0, 10.0):
        policy_XJ = rng.dirichlet(np.full(responses, concentration), prompts)
        assert naive_welfare(game, policy_XJ) <= best.welfare + 1e-9
    assert naive_welfare(game, np.exp(best.log_policy_XJ)) == pytest.approx(best.welfare, rel=1e-9)


@THOROUGH
@given(games)
def test_the_world_without_a_group_is_the_game_without_it(game: PoolGame) -> None:
    solution = solve(game)
    for i in range(game.groups if game.groups > 1 else 0):
        smaller = optimum(without(game, i))
        assert solution.welfare_W[1 + i] == pytest.approx(smaller.welfare, rel=1e-12)
        assert solution.divergence_W[1 + i] == pytest.approx(smaller.divergence, rel=1e-9)


@THOROUGH
@given(games)
def test_a_group_without_preferences_pays_exactly_nothing_and_changes_nothing(
    game: PoolGame,
) -> None:
    silent = replace(
        game,
        sizes_N=np.append(game.sizes_N, 7),
        rewards_NXJ=np.concatenate([game.rewards_NXJ, np.zeros_like(game.rewards_NXJ[:1])]),
    )
    solution, payments = settle(game)
    solution_with, payments_with = settle(silent)
    assert payments_with.payments_N[-1] == 0.0
    np.testing.assert_array_equal(solution_with.log_policy_XJ, solution.log_policy_XJ)
    np.testing.assert_allclose(payments_with.payments_N[:-1], payments.payments_N, atol=1e-12)


@THOROUGH
@given(games, seeds)
def test_permuting_groups_permutes_payments_and_changes_nothing_else(
    game: PoolGame, seed: int
) -> None:
    order_N = np.random.default_rng(seed).permutation(game.groups)
    shuffled = replace(game, sizes_N=game.sizes_N[order_N], rewards_NXJ=game.rewards_NXJ[order_N])
    (solution, payments), (found, found_payments) = settle(game), settle(shuffled)
    rounding = 1e-13 * game.sizes_N.sum()
    expected_N = payments.payments_N[order_N]
    np.testing.assert_allclose(found_payments.payments_N, expected_N, atol=rounding)
    welfare_W = solution.welfare_W[[0, *(1 + order_N)]]
    np.testing.assert_allclose(found.welfare_W, welfare_W, rtol=1e-12, atol=rounding)
    policy_XJ, expected_XJ = np.exp(found.log_policy_XJ), np.exp(solution.log_policy_XJ)
    np.testing.assert_allclose(policy_XJ, expected_XJ, atol=1e-15 + rounding / game.coefficient)


@THOROUGH
@given(games, st.floats(0.01, 0.99))
def test_a_prompt_may_be_split_into_two_that_share_its_weight(game: PoolGame, share: float) -> None:
    weights_X = np.append(game.prompt_weights_X, (1 - share) * game.prompt_weights_X[0])
    weights_X[0] *= share
    split = replace(
        game,
        log_q_XJ=np.concatenate([game.log_q_XJ, game.log_q_XJ[:1]]),
        prompt_weights_X=weights_X,
        rewards_NXJ=np.concatenate([game.rewards_NXJ, game.rewards_NXJ[:, :1]], axis=1),
    )
    np.testing.assert_allclose(solve(split).welfare_W, solve(game).welfare_W, rtol=1e-12)
    np.testing.assert_allclose(
        settle(split)[1].payments_N, settle(game)[1].payments_N, rtol=1e-9, atol=1e-12
    )


@THOROUGH
@given(games, st.integers(1, 4))
def test_prompts_may_be_solved_in_blocks_of_any_size(game: PoolGame, size: int) -> None:
    payments_N, welfare_W = np.zeros(game.groups), np.zeros(game.worlds)
    for start in range(0, len(game.prompt_weights_X), size):
        block = slice(start, start + size)
        weights_X = game.prompt_weights_X[block]
        share = float(weights_X.sum())
        part = replace(
            game,
            log_q_XJ=game.log_q_XJ[block],
            prompt_weights_X=weights_X / share
            if share
            else np.full(len(weights_X), 1 / len(weights_X)),
            rewards_NXJ=game.rewards_NXJ[:, block],
        )
        solution, payments = settle(part)
        payments_N += share * payments.payments_N
        welfare_W += share * solution.welfare_W
    rounding = 1e-13 * game.sizes_N.sum()
    np.testing.assert_allclose(settle(game)[1].payments_N, payments_N, rtol=1e-9, atol=rounding)
    np.testing.assert_allclose(solve(game).welfare_W, welfare_W, rtol=1e-9, atol=rounding)


@THOROUGH
@given(games, seeds)
def test_a_constant_added_to_one_groups_rewards_on_a_prompt_changes_no_payment(
    game: PoolGame, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    halved = replace(game, rewards_NXJ=game.rewards_NXJ / 2)
    rewards_NXJ = halved.rewards_NXJ.copy()
    rewards_NXJ[0] += rng.uniform(0, 0.5, len(game.prompt_weights_X))[:, None]
    raised = replace(halved, rewards_NXJ=rewards_NXJ)
    solution, payments = settle(halved)
    solution_raised, payments_raised = settle(raised)
    np.testing.assert_allclose(solution_raised.log_policy_XJ, solution.log_policy_XJ, atol=1e-10)
    rounding = 1e-13 * game.sizes_N.sum()
    np.testing.assert_allclose(payments_raised.payments_N, payments.payments_N, atol=rounding)


@THOROUGH
@given(games)
def test_an_infinite_coefficient_keeps_the_initial_model_and_costs_nothing(
    game: PoolGame,
) -> None:
    solution, payments = settle(replace(game, coefficient=1e9))
    np.testing.assert_allclose(np.exp(solution.log_policy_XJ), np.exp(game.log_q_XJ), atol=1e-6)
    # p ≤ λ·D ≤ Σ_j S²/λ, to first order under KL, ≤ 8·95²/1e9.
    np.testing.assert_allclose(payments.payments_N, 0.0, atol=1e-4)


@pytest.mark.parametrize("coefficient", [1e-7, 1e-310])
def test_a_vanishing_coefficient_gives_the_argmax_and_its_externality(
    coefficient: float,
) -> None:
    # S = 3·(1, 0, .5) + 2·(0, .9, .8) = (3, 1.8, 3.1): response 2 wins. Without group 0 response 1
    # would, worth 1.8 to group 1 instead of 1.6; without group 1 response 0, 3 instead of 1.5.
    game = PoolGame(
        log_q_XJ=np.log([[0.5, 0.3, 0.2]]),
        prompt_weights_X=np.ones(1),
        coefficient=coefficient,
        sizes_N=np.array([3.0, 2.0]),
        rewards_NXJ=np.array([[[1.0, 0.0, 0.5]], [[0.0, 0.9, 0.8]]]),
    )
    solution, payments = settle(game)
    np.testing.assert_array_equal(np.exp(solution.log_policy_XJ), [[0.0, 0.0, 1.0]])
    np.testing.assert_allclose(payments.payments_N, [1.8 - 1.6, 3.0 - 1.5], atol=1e-5)


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_a_lone_group_pays_the_divergence_it_causes(regularizer: str) -> None:
    # ASW₋₁ has no rewards: its optimum is π₀ at 0, and −λ·D(ψ) with the group. mechanism.md §8
    game = random_game(seed=4, groups=1, coefficient=2.0, regularizer=regularizer)
    solution, payments = settle(game)
    assert payments.payments_N[0] == pytest.approx(2.0 * solution.divergence_W[0], rel=1e-12)
    assert solution.divergence_W[0] > 0.01


@THOROUGH
@given(kl_games)
def test_a_response_of_base_weight_zero_counts_as_absent(game: PoolGame) -> None:
    prompts = len(game.prompt_weights_X)
    padded = replace(
        game,
        log_q_XJ=np.concatenate([np.full((prompts, 1), -np.inf), game.log_q_XJ], axis=1),
        rewards_NXJ=np.concatenate([np.ones((game.groups, prompts, 1)), game.rewards_NXJ], axis=2),
    )
    solution, payments = settle(padded)
    assert np.isneginf(solution.log_policy_XJ[:, 0]).all()
    np.testing.assert_allclose(payments.payments_N, settle(game)[1].payments_N, atol=1e-12)
