"""Models valued on samples of several models, judged by distributions that can be listed."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.mechanism.arrays import Floats, log_sum_exp
from workers.mechanism.closed_form import solve
from workers.mechanism.mixture import MixtureModels, MixtureSamples, mixture_game, value_on_mixture
from workers.mechanism.worlds import PoolGame, membership
from workers.pool.projection import value_models

QUICK = settings(max_examples=40, deadline=None)
SIZES_N = np.array([3.0, 7.0])


@dataclass(frozen=True, eq=False)
class Toy:
    """K models over V texts a prompt, all known: `log_pi_KXV`; the first model is π₀."""

    log_pi_KXV: Floats
    rewards_NXV: Floats
    prompt_weights_X: Floats
    coefficient: float = 2.0

    def draw(self, counts: list[int], rng: np.random.Generator) -> tuple[PoolGame, MixtureSamples]:
        """Samples of the models, and the game on those of π₀."""
        prompts, texts = self.log_pi_KXV.shape[1:]
        drawn_XJ = np.array(
            [
                np.concatenate(
                    [
                        rng.choice(texts, n, p=np.exp(log_pi_XV[x]))
                        for n, log_pi_XV in zip(counts, self.log_pi_KXV, strict=True)
                    ]
                )
                for x in range(prompts)
            ]
        )
        samples = self.at(drawn_XJ, counts)
        game = PoolGame(
            log_q_XJ=np.full((prompts, counts[0]), -np.log(counts[0])),
            prompt_weights_X=self.prompt_weights_X,
            coefficient=self.coefficient,
            sizes_N=SIZES_N,
            rewards_NXJ=samples.rewards_NXJ[:, :, : counts[0]],
        )
        return game, samples

    def at(self, drawn_XJ: np.ndarray, counts: list[int]) -> MixtureSamples:
        rows_X1 = np.arange(len(drawn_XJ))[:, None]
        return MixtureSamples(
            log_models_KXJ=self.log_pi_KXV[:, rows_X1, drawn_XJ],
            counts_K=np.array(counts),
            rewards_NXJ=self.rewards_NXV[:, rows_X1, drawn_XJ],
            initial=0,
        )

    def true_welfare_KW(self, regularizer: str) -> Floats:
        """Σᵢ wᵢ vᵢ − λ·D over all texts, written out."""
        pi_KXV, log_base_XV = np.exp(self.log_pi_KXV), self.log_pi_KXV[0]
        values_KNX = np.einsum("kxv,nxv->knx", pi_KXV, self.rewards_NXV)
        if regularizer == "kl":
            distance_KX = (pi_KXV * (self.log_pi_KXV - log_base_XV)).sum(2)
        else:
            distance_KX = ((pi_KXV - np.exp(log_base_XV)) ** 2).sum(2)
        sums_KWX = np.einsum("wn,n,knx->kwx", membership(len(SIZES_N)), SIZES_N, values_KNX)
        return (sums_KWX - self.coefficient * distance_KX[:, None]) @ self.prompt_weights_X


def toy(seed: int, spread: float, models: int = 3, texts: int = 60) -> Toy:
    """`spread` is how far the models' log-probabilities are from π₀'s."""
    rng = np.random.default_rng(seed)
    log_base = rng.normal(0, 1.5, (1, 2, texts))
    shifts = spread * rng.normal(size=(models, 2, texts))
    shifts[0] = 0.0
    log_pi_KXV = log_base + shifts
    return Toy(
        log_pi_KXV=log_pi_KXV - log_sum_exp(log_pi_KXV)[..., None],
        rewards_NXV=rng.random((len(SIZES_N), 2, texts)),
        prompt_weights_X=np.array([0.3, 0.7]),
    )


def value(made: Toy, counts: list[int], seed: int, regularizer: str = "kl") -> MixtureModels:
    game, samples = made.draw(counts, np.random.default_rng(seed))
    return value_on_mixture(replace(game, regularizer=regularizer), samples)


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_the_estimate_converges_to_the_truth_as_samples_grow(regularizer: str) -> None:
    made = toy(seed=1, spread=1.0)
    truth_KW = made.true_welfare_KW(regularizer)
    errors = []
    for scale in (1, 16, 256):
        found = [
            value(made, [64 * scale, 16 * scale, 16 * scale], seed, regularizer).welfare_KW
            for seed in range(20)
        ]
        errors.append(np.sqrt(np.mean((np.array(found) - truth_KW) ** 2)))
    # 16 times the samples leave a quarter of the error.
    assert errors[1] < errors[0] / 2.5
    assert errors[2] < errors[1] / 2.5
    assert errors[2] < 0.02 * np.abs(truth_KW).max()


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
@pytest.mark.parametrize("spread", [0.1, 1.0, 2.0])
def test_the_truth_lies_within_four_standard_errors(regularizer: str, spread: float) -> None:
    made = toy(seed=2, spread=spread)
    made = replace(made, coefficient=200.0 if regularizer == "l2" else 2.0)  # else D is nothing
    truth_KW = made.true_welfare_KW(regularizer)
    found = [value(made, [500, 200, 200], seed, regularizer) for seed in range(30)]
    scores = np.array([(f.welfare_KW - truth_KW) / f.welfare_standard_error_KW for f in found])
    assert np.abs(scores).max() < 4
    # Neither are the errors inflated until anything fits.
    assert 0.6 < scores.std() < 1.4


def test_the_standard_errors_are_the_spread_of_repeated_valuations_in_every_world() -> None:
    made = toy(seed=5, spread=0.4)
    found = [value(made, [200, 0, 0], seed) for seed in range(400)]
    spread_KW = np.std([each.welfare_KW for each in found], axis=0)
    error_KW = np.mean([each.welfare_standard_error_KW for each in found], axis=0)
    # A spread over 400 draws is itself known to 1/√800 = 3.5 %.
    np.testing.assert_allclose(error_KW, spread_KW, rtol=0.14)
    assert error_KW[0].max() > 1.5 * error_KW[0].min()  # the worlds differ


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_the_distance_near_the_initial_model_carries_noise_of_second_order_only(
    regularizer: str,
) -> None:
    # With a spread of 0.01 the KL is about 5e-5; the plain mean of the log-ratio would be noisy to
    # about 0.01/√96 = 1e-3, twenty times as much.
    made = toy(seed=3, spread=0.01)
    distance_K = -replace(made, rewards_NXV=0 * made.rewards_NXV).true_welfare_KW(regularizer)[:, 0]
    for seed in range(10):
        found_K = value(made, [64, 16, 16], seed, regularizer).divergence_K
        assert found_K[0] == 0.0
        np.testing.assert_allclose(found_K[1:], distance_K[1:] / made.coefficient, rtol=0.5)


def test_a_policy_the_pool_does_not_reach_is_valued_by_its_own_samples() -> None:
    # π₀ gives the last text 1 in 3000; the trained model gives it 0.9. Of 64 samples of π₀ none or
    # one shows it, and the projection rests on one response, or on the wrong ones.
    base_V = np.array([0.5, 0.3, 0.2 - 1 / 3000, 1 / 3000])
    tuned_V = np.array([0.05, 0.03, 0.02, 0.9])
    made = Toy(
        log_pi_KXV=np.log(np.stack([base_V, tuned_V]))[:, None, :],
        rewards_NXV=np.array([[[0.0, 0.2, 0.4, 1.0]], [[1.0, 0.5, 0.0, 0.1]]]),
        prompt_weights_X=np.ones(1),
    )
    truth = made.true_welfare_KW("kl")[1, 0]
    one_rare = np.array([[0] * 32 + [1] * 19 + [2] * 12 + [3]])  # a pool that shows it once
    pool = made.at(one_rare, [64, 0])
    game, samples = made.draw([64, 64], np.random.default_rng(4))
    with_rare = replace(game, rewards_NXJ=pool.rewards_NXJ)
    projected = value_models(with_rare, [pool.log_models_KXJ[1]], pool.log_models_KXJ[0])
    assert projected.effective_samples_minimum_K[0] == pytest.approx(1.0, abs=0.1)
    assert projected.low_support_prompts_K[0] == 1
    without = value_models(
        game, [samples.log_models_KXJ[1, :, :64]], samples.log_models_KXJ[0, :, :64]
    )
    mixed = value_on_mixture(game, samples)
    assert mixed.effective_samples_minimum_K[1] > 50
    assert mixed.low_support_prompts_K.tolist() == [0, 0]
    errors = [
        abs(found - truth) for found in (projected.welfare_KW[0, 0], without.welfare_KW[0, 0])
    ]
    assert abs(mixed.welfare_KW[1, 0] - truth) < 4 * mixed.welfare_standard_error_KW[1, 0]
    assert abs(mixed.welfare_KW[1, 0] - truth) < min(errors) / 5


@QUICK
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 3))
def test_on_samples_of_the_initial_model_alone_it_is_the_pools_projection(
    seed: int, spread: float
) -> None:
    game, samples = toy(seed, spread).draw([32, 0, 0], np.random.default_rng(seed))
    mixed = value_on_mixture(game, samples)
    projected = value_models(game, samples.log_models_KXJ, samples.log_models_KXJ[0])
    for name in ("valuations_KN", "divergence_K", "welfare_KW", "low_support_prompts_K"):
        np.testing.assert_array_equal(getattr(mixed, name), getattr(projected, name))
    for name in ("effective_samples_mean_K", "effective_samples_minimum_K"):
        np.testing.assert_allclose(getattr(mixed, name), getattr(projected, name), rtol=1e-12)


@QUICK
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 5), st.sampled_from(["kl", "l2"]))
def test_permuting_models_permutes_the_values(seed: int, spread: float, regularizer: str) -> None:
    game, samples = toy(seed, spread).draw([20, 5, 12], np.random.default_rng(seed))
    game = replace(game, regularizer=regularizer)
    order = np.random.default_rng(seed).permutation(3)
    permuted = replace(
        samples,
        log_models_KXJ=samples.log_models_KXJ[order],
        counts_K=samples.counts_K[order],
        initial=int(np.argmin(order)),
    )
    before, after = value_on_mixture(game, samples), value_on_mixture(game, permuted)
    for name in vars(before):
        expected = getattr(before, name)[order]
        np.testing.assert_allclose(getattr(after, name), expected, rtol=1e-9, atol=1e-12)


@QUICK
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_responses_makes_no_difference(seed: int) -> None:
    game, samples = toy(seed, 1.0).draw([20, 5, 12], np.random.default_rng(seed))
    order = np.random.default_rng(seed).permutation(37)
    shuffled = replace(
        samples,
        log_models_KXJ=samples.log_models_KXJ[..., order],
        rewards_NXJ=samples.rewards_NXJ[..., order],
    )
    before, after = value_on_mixture(game, samples), value_on_mixture(game, shuffled)
    np.testing.assert_allclose(after.welfare_KW, before.welfare_KW, rtol=1e-9)


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_equal_models_are_valued_by_the_plain_mean_of_all_responses(regularizer: str) -> None:
    made = toy(seed=6, spread=0.0)
    game, samples = made.draw([20, 5, 12], np.random.default_rng(6))
    found = value_on_mixture(replace(game, regularizer=regularizer), samples)
    mean_N = samples.rewards_NXJ.mean(axis=2) @ made.prompt_weights_X
    np.testing.assert_allclose(found.valuations_KN, [mean_N] * 3, rtol=1e-13)
    np.testing.assert_array_equal(found.divergence_K, 0.0)
    np.testing.assert_allclose(found.effective_samples_minimum_K, 37, rtol=1e-13)


def test_models_weigh_by_their_numbers_of_samples() -> None:
    # π₀ = (½, ½), π = (¼, ¾), 3 samples of π₀ and 1 of π: p = (7/16, 9/16). Drawn: a, a, b and b.
    # π/p = 4/7, 4/7, 4/3, 4/3 → w = (3, 3, 7, 7)/20;  π₀/p = 8/7, 8/7, 8/9, 8/9 → (9, 9, 7, 7)/32
    made = Toy(
        np.log([[[0.5, 0.5]], [[0.25, 0.75]]]), np.array([[[1.0, 0.0]]] * 2), np.ones(1), 1.0
    )
    samples = made.at(np.array([[0, 0, 1, 1]]), [3, 1])
    game = PoolGame(np.log([[1 / 3] * 3]), np.ones(1), 1.0, SIZES_N, samples.rewards_NXJ[:, :, :3])
    found = value_on_mixture(game, samples)
    np.testing.assert_allclose(found.valuations_KN[:, 0], [18 / 32, 6 / 20])
    expected = 0.3 * np.log((3 / 20) / (9 / 32)) + 0.7 * np.log((7 / 20) / (7 / 32))
    np.testing.assert_allclose(found.divergence_K, [0.0, expected])
    np.testing.assert_allclose(found.effective_samples_mean_K[1], 400 / (9 + 9 + 49 + 49))
    # Σ (w − q)(π − π₀) = 2 (3/20 − 9/32)(−¼) + 2 (7/20 − 7/32)(¼);  the truth is 1/8
    squares = value_on_mixture(replace(game, regularizer="l2"), samples).divergence_K
    np.testing.assert_allclose(squares, [0.0, 21 / 160])


def test_a_text_drawn_twice_counts_twice() -> None:
    made = toy(seed=7, spread=1.0)
    once = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    twice = made.at(np.concatenate([once, once], axis=1), [4, 2, 2])
    game = PoolGame(
        np.log(np.full((2, 2), 0.5)),
        made.prompt_weights_X,
        2.0,
        SIZES_N,
        twice.rewards_NXJ[..., :2],
    )
    single, double = (value_on_mixture(game, s) for s in (made.at(once, [2, 1, 1]), twice))
    np.testing.assert_allclose(double.welfare_KW, single.welfare_KW, rtol=1e-12)
    expected = 2 * single.effective_samples_mean_K
    np.testing.assert_allclose(double.effective_samples_mean_K, expected, rtol=1e-12)


@QUICK
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 5))
def test_no_models_welfare_exceeds_the_closed_form_on_the_same_responses(
    seed: int, spread: float
) -> None:
    game, samples = toy(seed, spread).draw([20, 5, 12], np.random.default_rng(seed))
    best_W = solve(mixture_game(game, samples)).welfare_W
    assert (value_on_mixture(game, samples).welfare_KW <= best_W + 1e-10).all()


def test_log_probabilities_of_thousands_of_nats_neither_overflow_nor_vanish() -> None:
    log_models_KXJ = np.array([[[-9000.0, -3000.0]], [[-5000.0, -9000.0]], [[-np.inf, -50.0]]])
    samples = MixtureSamples(log_models_KXJ, np.array([1, 1, 0]), np.array([[[1.0, 0.0]]] * 2), 0)
    game = PoolGame(np.zeros((1, 1)), np.ones(1), 1.0, SIZES_N, np.ones((2, 1, 1)))
    found = value_on_mixture(game, samples)
    np.testing.assert_allclose(found.valuations_KN[:, 0], [0.0, 1.0, 0.0])
    # q(first) ∝ π₀/p = 2e^−4000 and q(second) ∝ 2: KL of the model on the first is 4000 nats.
    np.testing.assert_allclose(found.divergence_K, [0.0, 4000.0, 0.0])
    squares = value_on_mixture(replace(game, regularizer="l2"), samples).divergence_K
    assert np.isfinite(squares).all()


def test_samples_that_cannot_be_are_refused_with_their_place() -> None:
    zeros, rewards = np.zeros((2, 1, 3)), np.zeros((2, 1, 3))

    def with_log(k: int, j: int, log: float) -> Floats:
        changed = zeros.copy()
        changed[k, 0, j] = log
        return changed

    with pytest.raises(ValueError, match=r"log_models_KXJ\[1, 0, 2\] = nan is no log-prob"):
        MixtureSamples(with_log(1, 2, np.nan), np.array([3, 0]), rewards, 0)
    with pytest.raises(ValueError, match=r"log π₀\[0, 1\] = -inf isn't finite"):
        MixtureSamples(with_log(0, 1, -np.inf), np.array([3, 0]), rewards, 0)
    with pytest.raises(ValueError, match="counts_K sum to 4, expected 3"):
        MixtureSamples(zeros, np.array([3, 1]), rewards, 0)
    with pytest.raises(ValueError, match=r"counts_K\[1\] = -1.0 is no number of responses"):
        MixtureSamples(zeros, np.array([4, -1]), rewards, 0)
    with pytest.raises(ValueError, match=r"counts_K has shape \(1,\), expected \(2,\)"):
        MixtureSamples(zeros, np.array([3]), rewards, 0)
    with pytest.raises(ValueError, match=r"rewards_NXJ has shape \(2, 1, 2\), expected"):
        MixtureSamples(zeros, np.array([3, 0]), rewards[..., :2], 0)
    with pytest.raises(ValueError, match="initial = 2, expected a place among 2 models"):
        MixtureSamples(zeros, np.array([3, 0]), rewards, 2)
    game = PoolGame(np.zeros((1, 1)), np.ones(1), 1.0, SIZES_N, np.ones((2, 1, 1)))
    nobodys = MixtureSamples(with_log(1, 1, -np.inf), np.array([0, 3]), rewards, 0)
    with pytest.raises(ValueError, match=r"log p\[0, 1\] = -inf of a response that was drawn"):
        value_on_mixture(game, nobodys)
    nothing = np.stack([np.zeros((1, 3)), np.full((1, 3), -np.inf)])
    with pytest.raises(ValueError, match=r"\[0\] = -inf leaves no response"):
        value_on_mixture(game, MixtureSamples(nothing, np.array([3, 0]), rewards, 0))
    other = MixtureSamples(zeros, np.array([3, 0]), np.zeros((3, 1, 3)), 0)
    with pytest.raises(ValueError, match=r"rewards_NXJ has shape \(3, 1, 3\), expected \(2, 1"):
        value_on_mixture(game, other)
    above = MixtureSamples(zeros, np.array([3, 0]), rewards + 2, 0)
    with pytest.raises(ValueError, match=r"rewards_NXJ\[0, 0, 0\] = 2.0 is outside"):
        value_on_mixture(game, above)
