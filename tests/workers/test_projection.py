"""Trained models as policies on the pool."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.mechanism.closed_form import optimum, solve
from workers.mechanism.worlds import PoolGame
from workers.pool.projection import effective_samples, project, support_ratio, value_models

QUICK = settings(max_examples=40, deadline=None)


def sampled_game(seed: int, coefficient: float = 2.0, responses: int = 12) -> PoolGame:
    rng = np.random.default_rng(seed)
    prompts, groups = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    return PoolGame(
        log_q_XJ=np.full((prompts, responses), -np.log(responses)),
        prompt_weights_X=rng.dirichlet(np.ones(prompts)),
        coefficient=coefficient,
        sizes_N=rng.integers(1, 20, groups).astype(float),
        rewards_NXJ=rng.random((groups, prompts, responses)),
    )


@QUICK
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1000), st.floats(0.001, 5))
def test_no_projections_welfare_exceeds_the_optimum_of_any_world(
    seed: int, coefficient: float, shift: float
) -> None:
    game = sampled_game(seed, coefficient)
    rng = np.random.default_rng(seed)
    log_base_XJ = rng.normal(-40, 5, game.log_q_XJ.shape)
    models = [log_base_XJ + shift * rng.normal(size=log_base_XJ.shape) for _ in range(3)]
    welfare_KW = value_models(game, models, log_base_XJ).welfare_KW
    assert (welfare_KW <= solve(game).welfare_W + 1e-12 * game.sizes_N.sum()).all()


@QUICK
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 100))
def test_a_model_trained_to_the_optimum_is_valued_as_the_optimum(
    seed: int, coefficient: float
) -> None:
    game = sampled_game(seed, coefficient)
    log_base_XJ = np.random.default_rng(seed).normal(-40, 5, game.log_q_XJ.shape)
    best = optimum(game)
    # log π_θ − log π₀ = S/λ up to a constant a prompt, which the pool can't see.
    log_theta_XJ = log_base_XJ + np.tensordot(game.sizes_N, game.rewards_NXJ, 1) / coefficient
    valued = value_models(game, [log_theta_XJ - 3.0], log_base_XJ)
    assert valued.welfare_KW[0, 0] == pytest.approx(best.welfare, rel=1e-11)
    assert valued.divergence_K[0] == pytest.approx(best.divergence, rel=1e-9)
    np.testing.assert_allclose(valued.valuations_KN[0], best.valuations_N, rtol=1e-11)


def test_the_initial_model_projects_on_the_base_weights_exactly() -> None:
    game = sampled_game(seed=1)
    log_base_XJ = np.random.default_rng(1).normal(-40, 5, game.log_q_XJ.shape)
    valued = value_models(game, [log_base_XJ], log_base_XJ)
    assert valued.divergence_K[0] == 0.0
    mean_NX = game.rewards_NXJ.mean(axis=2)
    np.testing.assert_allclose(valued.valuations_KN[0], mean_NX @ game.prompt_weights_X)
    np.testing.assert_allclose(valued.effective_samples_minimum_K, 12.0)
    assert valued.low_support_prompts_K.tolist() == [0]


def test_models_are_valued_one_by_one_as_together() -> None:
    game = sampled_game(seed=2)
    rng = np.random.default_rng(2)
    log_base_XJ = rng.normal(-40, 5, game.log_q_XJ.shape)
    models = [log_base_XJ + rng.normal(size=log_base_XJ.shape) for _ in range(3)]
    together = value_models(game, models, log_base_XJ)
    for k, model in enumerate(models):
        alone = value_models(game, [model], log_base_XJ)
        np.testing.assert_array_equal(alone.welfare_KW[0], together.welfare_KW[k])


def test_a_response_counts_by_its_ratio_of_probabilities() -> None:
    # q = (½, ¼, ¼), ratios (1, 2, 4): weights ½, ½, 1 → π = (¼, ¼, ½).
    log_q_XJ = np.log([[0.5, 0.25, 0.25]])
    policy = project(log_q_XJ, np.log([[0.1, 0.4, 0.4]]), np.log([[0.1, 0.2, 0.1]]))
    np.testing.assert_allclose(np.exp(policy.log_policy_XJ), [[0.25, 0.25, 0.5]])
    # KL = ¼ log(¼/½) + ¼ log 1 + ½ log 2 = ¼ log 2;  1/Σπ² = 1/(1/16 + 1/16 + 1/4)
    np.testing.assert_allclose(policy.divergence_X, 0.25 * np.log(2))
    np.testing.assert_allclose(effective_samples(policy.log_policy_XJ), 8 / 3)


def test_prompts_whose_effective_sample_is_below_5_percent_are_counted() -> None:
    # 40 responses: 5 % are 2. With odds e^c for one of them, 1/Σπ² is 1 at c = 20, 40 at c = 0.
    game = PoolGame(
        log_q_XJ=np.full((2, 40), -np.log(40)),
        prompt_weights_X=np.array([0.5, 0.5]),
        coefficient=1.0,
        sizes_N=np.array([1]),
        rewards_NXJ=np.zeros((1, 2, 40)),
    )
    log_theta_XJ = np.zeros((2, 40))
    log_theta_XJ[0, 3] = 20.0
    valued = value_models(game, [log_theta_XJ], np.zeros((2, 40)))
    assert valued.low_support_prompts_K.tolist() == [1]
    assert valued.effective_samples_minimum_K[0] == pytest.approx(1.0, rel=1e-6)
    assert valued.effective_samples_mean_K[0] == pytest.approx((1 + 40) / 2, rel=1e-6)


def test_log_probabilities_of_thousands_of_nats_neither_overflow_nor_vanish() -> None:
    log_q_XJ = np.log([[0.5, 0.5]])
    policy = project(log_q_XJ, np.array([[-9000.0, -9001.0]]), np.array([[-5000.0, -5000.0]]))
    odds = np.exp(policy.log_policy_XJ[0, 0] - policy.log_policy_XJ[0, 1])
    assert odds == pytest.approx(np.e, rel=1e-12)
    certain = project(log_q_XJ, np.array([[0.0, -np.inf]]), np.zeros((1, 2)))
    np.testing.assert_array_equal(np.exp(certain.log_policy_XJ), [[1.0, 0.0]])
    assert certain.divergence_X[0] == pytest.approx(np.log(2))


def test_a_response_without_base_weight_needs_no_log_probability() -> None:
    log_q_XJ = np.array([[0.0, -np.inf]])
    policy = project(log_q_XJ, np.array([[-1.0, np.nan]]), np.array([[-2.0, -np.inf]]))
    np.testing.assert_array_equal(np.exp(policy.log_policy_XJ), [[1.0, 0.0]])


def test_values_that_are_no_log_probabilities_are_refused_with_their_place() -> None:
    log_q_XJ, zeros = np.log([[0.5, 0.5]]), np.zeros((1, 2))
    with pytest.raises(ValueError, match=r"log_theta_XJ\[0, 1\] = nan"):
        project(log_q_XJ, np.array([[0.0, np.nan]]), zeros)
    with pytest.raises(ValueError, match=r"log_base_XJ\[0, 0\] = -inf"):
        project(log_q_XJ, zeros, np.array([[-np.inf, 0.0]]))
    with pytest.raises(ValueError, match=r"\[0\] = -inf leaves no response"):
        project(log_q_XJ, np.full((1, 2), -np.inf), zeros)
    with pytest.raises(ValueError, match=r"log_theta_XJ has shape \(1, 3\), expected \(1, 2\)"):
        project(log_q_XJ, np.zeros((1, 3)), zeros)
    with pytest.raises(ValueError, match="no models"):
        value_models(sampled_game(seed=1), [], zeros)


def test_the_support_ratio_is_1_when_all_weight_is_on_one_response() -> None:
    game = replace(sampled_game(seed=4, responses=16), coefficient=1e-9)
    assert support_ratio(optimum(game).divergence, 16) == pytest.approx(1.0, rel=1e-9)
    with pytest.raises(ValueError, match="samples_per_prompt = 1"):
        support_ratio(0.0, 1)
