"""The exact mechanism on the pool: docs/mechanism.md §1 and §2, and what follows from them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.mechanism.arrays import Floats
from workers.mechanism.closed_form import PoolSolution, optimum, payments_by_expectation, solve
from workers.mechanism.payments import Payments, affine_maximizer
from workers.mechanism.worlds import PoolGame

QUICK = settings(max_examples=40, deadline=None)


def random_game(seed: int, groups: int, coefficient: float) -> PoolGame:
    rng = np.random.default_rng(seed)
    prompts, responses = int(rng.integers(1, 5)), int(rng.integers(2, 9))
    return PoolGame(
        log_q_XJ=np.log(rng.dirichlet(np.ones(responses), prompts)),
        prompt_weights_X=rng.dirichlet(np.ones(prompts)),
        coefficient=coefficient,
        sizes_N=rng.integers(1, 20, groups).astype(float),
        rewards_NXJ=rng.random((groups, prompts, responses)),
    )


games = st.builds(
    random_game,
    seed=st.integers(0, 2**32 - 1),
    groups=st.integers(1, 5),
    coefficient=st.floats(0.1, 100.0),
)


def settle(game: PoolGame) -> tuple[PoolSolution, Payments]:
    solution = solve(game)
    return solution, affine_maximizer(game.sizes_N, solution.values)


def naive_welfare(game: PoolGame, policy_XJ: Floats) -> float:
    """ASW by its definition, docs/mechanism.md §1: no logarithm of a sum, no shift."""
    reward_X = np.einsum("n,xj,nxj->x", game.sizes_N, policy_XJ, game.rewards_NXJ)
    log_ratio_XJ = np.log(np.maximum(policy_XJ, 1e-300)) - game.log_q_XJ
    divergence_X = (policy_XJ * log_ratio_XJ).sum(axis=1)
    return float(game.prompt_weights_X @ (reward_X - game.coefficient * divergence_X))


def without(game: PoolGame, i: int) -> PoolGame:
    return replace(
        game,
        sizes_N=np.delete(game.sizes_N, i),
        rewards_NXJ=np.delete(game.rewards_NXJ, i, axis=0),
    )


@QUICK
@given(games)
def test_exact_payments_and_utilities_are_never_negative(game: PoolGame) -> None:
    _, payments = settle(game)
    rounding = 1e-12 * game.sizes_N.sum()
    assert (payments.payments_N >= -rounding).all()
    assert (payments.utilities_N >= -rounding).all()


@QUICK
@given(games)
def test_both_payment_formulas_agree_to_1e_9(game: PoolGame) -> None:
    solution, payments = settle(game)
    expected_N = payments_by_expectation(game, solution.log_policy_XJ)
    # Relative to p; the absolute part covers p ~ w²/λ so small that ASW's own digits end there.
    absolute = 1e-14 * game.sizes_N.sum()
    np.testing.assert_allclose(payments.payments_N, expected_N, rtol=1e-9, atol=absolute)


@QUICK
@given(games)
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


@QUICK
@given(games, st.integers(0, 2**32 - 1))
def test_no_policy_has_more_welfare_than_the_closed_form(game: PoolGame, seed: int) -> None:
    best = optimum(game)
    rng = np.random.default_rng(seed)
    prompts, responses = game.log_q_XJ.shape
    for concentration in (0.1, 1.0, 10.0):
        policy_XJ = rng.dirichlet(np.full(responses, concentration), prompts)
        assert naive_welfare(game, policy_XJ) <= best.welfare + 1e-9
    assert naive_welfare(game, np.exp(best.log_policy_XJ)) == pytest.approx(best.welfare, rel=1e-9)


@QUICK
@given(games)
def test_the_world_without_a_group_is_the_game_without_it(game: PoolGame) -> None:
    solution = solve(game)
    for i in range(game.groups if game.groups > 1 else 0):
        smaller = optimum(without(game, i))
        assert solution.welfare_W[1 + i] == pytest.approx(smaller.welfare, rel=1e-12)
        assert solution.divergence_W[1 + i] == pytest.approx(smaller.divergence, rel=1e-9)


@QUICK
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


@QUICK
@given(games, st.integers(0, 2**32 - 1))
def test_permuting_groups_permutes_payments(game: PoolGame, seed: int) -> None:
    order_N = np.random.default_rng(seed).permutation(game.groups)
    shuffled = replace(game, sizes_N=game.sizes_N[order_N], rewards_NXJ=game.rewards_NXJ[order_N])
    expected_N = settle(game)[1].payments_N[order_N]
    rounding = 1e-13 * game.sizes_N.sum()
    np.testing.assert_allclose(settle(shuffled)[1].payments_N, expected_N, atol=rounding)


@QUICK
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


@QUICK
@given(games)
def test_prompts_may_be_solved_one_by_one(game: PoolGame) -> None:
    alone = [
        PoolGame(
            log_q_XJ=game.log_q_XJ[x : x + 1],
            prompt_weights_X=np.ones(1),
            coefficient=game.coefficient,
            sizes_N=game.sizes_N,
            rewards_NXJ=game.rewards_NXJ[:, x : x + 1],
        )
        for x in range(len(game.prompt_weights_X))
    ]
    payments_XN = np.stack([settle(part)[1].payments_N for part in alone])
    expected_N = game.prompt_weights_X @ payments_XN
    np.testing.assert_allclose(settle(game)[1].payments_N, expected_N, rtol=1e-9, atol=1e-12)


@QUICK
@given(games, st.integers(0, 2**32 - 1))
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


@QUICK
@given(games)
def test_an_infinite_coefficient_keeps_the_initial_model_and_costs_nothing(
    game: PoolGame,
) -> None:
    solution, payments = settle(replace(game, coefficient=1e9))
    np.testing.assert_allclose(solution.log_policy_XJ, game.log_q_XJ, atol=1e-6)
    # p ≤ λ·KL ≤ (Σw)²/λ ≤ 100²/1e9 to first order.
    np.testing.assert_allclose(payments.payments_N, 0.0, atol=1e-5)


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


def test_a_lone_group_pays_the_divergence_it_causes() -> None:
    # ASW₋₁ has no rewards: its optimum is π₀ at 0, and −λ·D(ψ) with the group. mechanism.md §7
    game = random_game(seed=3, groups=1, coefficient=2.0)
    solution, payments = settle(game)
    assert payments.payments_N[0] == pytest.approx(2.0 * solution.divergence_W[0], rel=1e-12)
    assert solution.divergence_W[0] > 0.01


@QUICK
@given(games)
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


def misreports(reward_XJ: Floats, others_XJ: Floats) -> list[Floats]:
    """A grid of misreported rewards, and a constant report."""
    tried = [np.power(reward_XJ, beta) for beta in (0.25, 0.5, 2.0, 4.0, 16.0)]
    tried += [reward_XJ - beta * others_XJ for beta in (0.5, 1.0, 2.0)]
    tried += [(reward_XJ >= np.quantile(reward_XJ, share)) * 1.0 for share in (0.5, 0.8, 1.0)]
    tried += [1 - reward_XJ, np.zeros_like(reward_XJ)]
    spread = [(float(r.min()), max(float(np.ptp(r)), 1e-12)) for r in tried]
    return [(r - low) / width for r, (low, width) in zip(tried, spread, strict=True)]


@settings(max_examples=10, deadline=None)
@given(games)
def test_no_misreport_of_rewards_or_size_gains_more_than_1e_9(game: PoolGame) -> None:
    true_size, true_XJ = game.sizes_N[0], game.rewards_NXJ[0]
    honest = settle(game)[1].utilities_N[0]
    for reported_XJ in [true_XJ, *misreports(true_XJ, game.rewards_NXJ.mean(axis=0))]:
        for size in {1, max(1, true_size // 2), true_size, 3 * true_size, 50 * true_size}:
            rewards_NXJ, sizes_N = game.rewards_NXJ.copy(), game.sizes_N.copy()
            rewards_NXJ[0], sizes_N[0] = reported_XJ, size
            solution, payments = settle(replace(game, sizes_N=sizes_N, rewards_NXJ=rewards_NXJ))
            policy_XJ = np.exp(solution.log_policy_XJ)
            value = np.einsum("x,xj,xj->", game.prompt_weights_X, policy_XJ, true_XJ)
            assert true_size * value - payments.payments_N[0] <= honest + 1e-9
