"""Valuing models on samples of several of them, where the initial model's alone don't reach.

The responses of a prompt are drawn from several models, n_k from model k, n in all. Each counts by
the balance heuristic (Veach & Guibas, SIGGRAPH 1995), by the counts and not as a plain mean over
the models: with p(y) = Σ_k (n_k/n) π_k(y), the mixture that the responses are a sample of,
    w_θ(j) ∝ π_θ(y_j) / p(y_j),   Σ_j w_θ(j) = 1 on every prompt              docs/mechanism.md §2
The base weights are w of the initial model, q(j) ∝ π₀/p, so every model is a policy over the same
responses as on the pool: w_θ ∝ q·π_θ/π₀. With samples of π₀ alone this is the pool's projection.
All worlds share the responses. Those drawn from trained models depend on the reports, so that what
holds exactly on the pool is an estimate here.
"""

from dataclasses import dataclass, replace

import numpy as np

from workers.mechanism.arrays import (
    Floats,
    Indices,
    checked,
    checked_finite,
    log_sum_exp,
    refuse_where,
)
from workers.mechanism.tilting import Tilted, tilt
from workers.mechanism.worlds import PoolGame, membership, valuations, welfare

LOW_SUPPORT_SHARE = 0.05
"""An effective sample below this share of a prompt's responses can't carry a valuation."""


@dataclass(frozen=True, eq=False)
class MixtureSamples:
    """The responses to each prompt, whichever model they were drawn from, side by side on J.

    `log_models_KXJ`: log π_k(y_j|x) of all K models on all responses, nats; −inf is allowed but for
    the initial model. `counts_K`: how many of a prompt's responses were drawn from each model, 0
    for a model that was only evaluated; they sum to J, and which is whose makes no difference. A
    text drawn twice is there twice. `rewards_NXJ`: in [0, 1]. `initial`: π₀'s place on K.
    Raises ValueError with both shapes, or with the value that isn't allowed.
    """

    log_models_KXJ: Floats
    counts_K: Indices
    rewards_NXJ: Floats
    initial: int

    def __post_init__(self) -> None:
        log_models_KXJ = checked("log_models_KXJ", self.log_models_KXJ, (None, None, None))
        models, prompts, responses = log_models_KXJ.shape
        if not 0 <= self.initial < models:
            raise ValueError(f"initial = {self.initial}, expected a place among {models} models")
        no_log_KXJ = np.isnan(log_models_KXJ) | np.isposinf(log_models_KXJ)
        refuse_where("log_models_KXJ", log_models_KXJ, no_log_KXJ, "is no log-probability")
        base_XJ = log_models_KXJ[self.initial]
        refuse_where("log π₀", base_XJ, ~np.isfinite(base_XJ), "isn't finite")
        counts_K = checked_finite("counts_K", self.counts_K, (models,))
        no_count_K = (counts_K < 0) | (counts_K != np.floor(counts_K))
        refuse_where("counts_K", counts_K, no_count_K, "is no number of responses")
        if counts_K.sum() != responses:
            raise ValueError(f"counts_K sum to {counts_K.sum():.0f}, expected {responses}")
        object.__setattr__(self, "log_models_KXJ", log_models_KXJ)
        object.__setattr__(self, "counts_K", counts_K.astype(np.intp))
        checked("rewards_NXJ", self.rewards_NXJ, (None, prompts, responses))


@dataclass(frozen=True, eq=False)
class MixtureModels:
    """K models valued on a mixture; the fields of `ProjectedModels`, and how far noise may reach.

    `valuations_KN`: vᵢ(π_θ) per agent. `divergence_K`: D(π_θ ‖ π₀) of the announced regulariser.
    `welfare_KW`: ASW of each model in each world, agent·reward units, with its standard error over
    the responses (prompts are fixed) in `welfare_standard_error_KW`.
    `effective_samples_mean_K`, `_minimum_K`: 1/Σ_j w², over prompts. `low_support_prompts_K`:
    prompts where it is below LOW_SUPPORT_SHARE of the number of responses.
    """

    valuations_KN: Floats
    divergence_K: Floats
    welfare_KW: Floats
    welfare_standard_error_KW: Floats
    effective_samples_mean_K: Floats
    effective_samples_minimum_K: Floats
    low_support_prompts_K: Indices


def mixture_game(game: PoolGame, samples: MixtureSamples) -> PoolGame:
    """The game on the mixture's responses: base weights q ∝ π₀/p, and their rewards.

    Its closed form bounds the KL welfare of every model valued on the mixture, as on the pool.
    """
    prompts, groups = len(game.prompt_weights_X), game.groups
    checked("rewards_NXJ", samples.rewards_NXJ, (groups, prompts, None))
    log_weights_XJ = -_log_mixture_ratio(samples)
    log_q_XJ = log_weights_XJ - log_sum_exp(log_weights_XJ)[:, None]
    return replace(game, log_q_XJ=log_q_XJ, rewards_NXJ=samples.rewards_NXJ)


def _log_mixture_ratio(samples: MixtureSamples) -> Floats:
    """log p/π₀, shape (X, J). Raises ValueError for a response that no sampled model could give."""
    base_XJ = samples.log_models_KXJ[samples.initial]
    log_ratio_XJ = np.full(base_XJ.shape, -np.inf)
    for log_model_XJ, count in zip(samples.log_models_KXJ, samples.counts_K, strict=True):
        if count:
            log_share = np.log(count / samples.counts_K.sum())
            log_ratio_XJ = np.logaddexp(log_ratio_XJ, log_model_XJ - base_XJ + log_share)
    impossible_XJ = np.isneginf(log_ratio_XJ)
    refuse_where("log p", log_ratio_XJ, impossible_XJ, "of a response that was drawn")
    return log_ratio_XJ


def value_on_mixture(game: PoolGame, samples: MixtureSamples) -> MixtureModels:
    """Value every model for every group and in every world.

    Sizes, prompt weights, λ and the regulariser are `game`'s; its pool isn't used, so if the pool
    is one of the samples, its responses, rewards and count belong into `samples` too.
    """
    mixed = mixture_game(game, samples)
    base_XJ = samples.log_models_KXJ[samples.initial]
    rows = [_value(mixed, log_model_XJ, base_XJ) for log_model_XJ in samples.log_models_KXJ]
    valuations_KN = np.stack([row.valuations_N for row in rows])
    divergence_K = checked_finite("divergence_K", [row.divergence for row in rows], (None,))
    penalties_K, members_WN = game.coefficient * divergence_K, membership(game.groups)
    effective_KX = np.stack([row.effective_samples_X for row in rows])
    low_KX = effective_KX < LOW_SUPPORT_SHARE * mixed.log_q_XJ.shape[1]
    return MixtureModels(
        valuations_KN=valuations_KN,
        divergence_K=divergence_K,
        welfare_KW=welfare(game.sizes_N, valuations_KN, penalties_K, members_WN).T,
        welfare_standard_error_KW=np.stack([row.standard_error_W for row in rows]),
        effective_samples_mean_K=effective_KX.mean(axis=1),
        effective_samples_minimum_K=effective_KX.min(axis=1),
        low_support_prompts_K=low_KX.sum(axis=1),
    )


@dataclass(frozen=True, eq=False)
class _Valued:
    valuations_N: Floats
    divergence: float
    effective_samples_X: Floats
    standard_error_W: Floats


def _value(mixed: PoolGame, log_model_XJ: Floats, log_base_XJ: Floats) -> _Valued:
    """One model as a policy on the mixture's responses."""
    tilt_XJ = log_model_XJ - log_base_XJ
    best_X = tilt_XJ.max(axis=1)
    refuse_where("max_j log π/π₀", best_X, np.isneginf(best_X), "leaves no response")
    policy = tilt(mixed.log_q_XJ, tilt_XJ)
    weights_XJ = np.exp(policy.log_policy_XJ)
    if mixed.regularizer == "kl":
        divergence_X, pull_XJ = policy.divergence_X, _kl_influence(policy, mixed.log_q_XJ)
    elif mixed.regularizer == "l2":
        divergence_X, pull_XJ = _squared_distance(
            weights_XJ, mixed.log_q_XJ, log_model_XJ, log_base_XJ
        )
    else:
        raise ValueError(f"regularizer = {mixed.regularizer!r} has no estimate on a mixture")
    return _Valued(
        valuations_N=valuations(weights_XJ, mixed.prompt_weights_X, mixed.rewards_NXJ),
        divergence=float(mixed.prompt_weights_X @ divergence_X),
        effective_samples_X=1.0 / (weights_XJ**2).sum(axis=1),
        standard_error_W=_standard_errors(mixed, weights_XJ, pull_XJ),
    )


def _kl_influence(policy: Tilted, log_q_XJ: Floats) -> Floats:
    """How much each response moves KL = Σ_j w log(w/q), to first order.

        w (log(w/q) − KL − 1) + q

    This KL is Σ_j w (log π_θ − log π₀) − log(Z_θ/Z₀) with Z = Σ_j π/p /n, an estimate of 1: the
    sampled normalisers take out the noise of first order, so that it is never negative, 0 for π₀,
    and on the pool's samples alone the KL of the projection.
    """
    weights_XJ = np.exp(policy.log_policy_XJ)
    excess_XJ = np.zeros_like(weights_XJ)
    np.subtract(policy.log_policy_XJ, log_q_XJ, out=excess_XJ, where=weights_XJ > 0)
    return weights_XJ * (excess_XJ - policy.divergence_X[:, None] - 1) + np.exp(log_q_XJ)


def _squared_distance(
    weights_XJ: Floats, log_q_XJ: Floats, log_model_XJ: Floats, log_base_XJ: Floats
) -> tuple[Floats, Floats]:
    """D = Σ_y (π − π₀)², shape (X,), and how much each response moves it, to first order.

        D = E_π[π − π₀] − E_π₀[π − π₀] ≈ Σ_j (w − q) (π − π₀)

    As one difference, and not as E_π[π − 2π₀] + E_π₀[π₀], the noise is of second order near π₀,
    where D is; for π₀ it is 0. It is the distance over texts. On a pool of samples each response
    stands for itself whatever its text, and `L2` measures another, to which this doesn't reduce.
    """
    excess_XJ = np.exp(log_model_XJ) - np.exp(log_base_XJ)
    q_XJ = np.exp(log_q_XJ)
    mean_X1, base_mean_X1 = (
        (mass_XJ * excess_XJ).sum(axis=1, keepdims=True) for mass_XJ in (weights_XJ, q_XJ)
    )
    influence_XJ = weights_XJ * (excess_XJ - mean_X1) - q_XJ * (excess_XJ - base_mean_X1)
    return (mean_X1 - base_mean_X1)[:, 0], influence_XJ


def _standard_errors(mixed: PoolGame, weights_XJ: Floats, pull_XJ: Floats) -> Floats:
    """The standard error of ASW in each world, shape (W,), by the delta method.

        h(j) = w (S − Σ_j w S) − λ·(influence on D),   error² = Σ_x ρ_x² Σ_j h²

    Taking all responses as draws from p; that each model gave a fixed number of them can only
    lower the error.
    """
    moved_NXJ = [
        size * weights_XJ * (rewards_XJ - (weights_XJ * rewards_XJ).sum(axis=1, keepdims=True))
        for size, rewards_XJ in zip(mixed.sizes_N, mixed.rewards_NXJ, strict=True)
    ]
    grand_XJ = np.sum(moved_NXJ, axis=0) - mixed.coefficient * pull_XJ
    variances_WX = [
        (moved_XJ**2).sum(axis=1)
        for moved_XJ in (grand_XJ, *(grand_XJ - own_XJ for own_XJ in moved_NXJ))
    ]
    errors_W: Floats = np.sqrt(np.array(variances_WX) @ mixed.prompt_weights_X**2)
    return errors_W
