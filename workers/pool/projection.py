"""Valuing trained models on the pool: every model becomes a policy over the same responses.

    π_θ(j|x) ∝ q(j|x) exp(log π_θ(y_j|x) − log π₀(y_j|x))                    docs/mechanism.md §2

All models share the samples, so differences between worlds carry no sampling noise of their own,
and no projection's welfare exceeds the closed form's ASW*: it is a policy on the same pool.
Numpy only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from workers.mechanism.arrays import Floats, Indices, checked, checked_finite, refuse_where
from workers.mechanism.mixture import LOW_SUPPORT_SHARE
from workers.mechanism.tilting import Tilted, tilt
from workers.mechanism.worlds import PoolGame, membership, valuations, welfare

SMALL_POOL_RATIO = 0.5
"""Above this share of log N nats, the pool bounds the divergence and ASW* is underestimated."""


@dataclass(frozen=True, eq=False)
class ProjectedModels:
    """K trained models valued on the pool.

    `valuations_KN`: vᵢ(π_θ) per agent. `divergence_K`: D(π_θ ‖ q) of the
    announced regulariser. `welfare_KW`: ASW of
    each model in each world, agent·reward units. `effective_samples_mean_K`, `_minimum_K`: over
    prompts. `low_support_prompts_K`: prompts whose effective sample is below LOW_SUPPORT_SHARE.
    """

    valuations_KN: Floats
    divergence_K: Floats
    welfare_KW: Floats
    effective_samples_mean_K: Floats
    effective_samples_minimum_K: Floats
    low_support_prompts_K: Indices


def project(log_q_XJ: Floats, log_theta_XJ: Floats, log_base_XJ: Floats) -> Tilted:
    """The model with log-probabilities `log_theta_XJ` as a policy on the pool.

    `log_base_XJ`: log π₀(y_j|x), finite wherever q isn't 0; `log_theta_XJ` may be −inf. Both are of
    whole responses, nats. Raises ValueError with the first value that isn't allowed, or for a
    prompt all of whose responses the model gives probability 0.
    """
    log_q_XJ = checked("log_q_XJ", log_q_XJ, (None, None))
    log_theta_XJ = checked("log_theta_XJ", log_theta_XJ, log_q_XJ.shape)
    log_base_XJ = checked("log_base_XJ", log_base_XJ, log_q_XJ.shape)
    support_XJ = ~np.isneginf(log_q_XJ)
    unusable_XJ = support_XJ & (np.isnan(log_theta_XJ) | np.isposinf(log_theta_XJ))
    refuse_where("log_theta_XJ", log_theta_XJ, unusable_XJ, "is no log-probability")
    refuse_where("log_base_XJ", log_base_XJ, support_XJ & ~np.isfinite(log_base_XJ), "isn't finite")
    log_ratio_XJ = np.full(log_q_XJ.shape, -np.inf)
    np.subtract(log_theta_XJ, log_base_XJ, out=log_ratio_XJ, where=support_XJ)
    best_X = log_ratio_XJ.max(axis=1)
    refuse_where("max_j log_ratio_X", best_X, np.isneginf(best_X), "leaves no response")
    return tilt(log_q_XJ, log_ratio_XJ)


def value_models(
    game: PoolGame, log_theta_KXJ: Iterable[Floats], log_base_XJ: Floats
) -> ProjectedModels:
    """Value every model for every group and in every world, one model in memory at a time.

    Pass π₀ itself as a candidate with `log_theta = log_base`: it projects on q exactly.
    """
    weights_X = game.prompt_weights_X
    rows = []
    for log_theta_XJ in log_theta_KXJ:
        model = project(game.log_q_XJ, log_theta_XJ, log_base_XJ)
        values_N = valuations(np.exp(model.log_policy_XJ), weights_X, game.rewards_NXJ)
        found = support(model.log_policy_XJ, game.log_q_XJ)
        divergence_X = game.divergence.divergence(model, game.log_q_XJ)
        rows.append((values_N, weights_X @ divergence_X, found))
    if not rows:
        raise ValueError("no models to value")
    valuations_KN = np.stack([row[0] for row in rows])
    divergence_K = checked_finite("divergence_K", [row[1] for row in rows], (None,))
    supports = [row[2] for row in rows]
    members_WN = membership(game.groups)
    penalties_K = game.coefficient * divergence_K
    return ProjectedModels(
        valuations_KN=valuations_KN,
        divergence_K=divergence_K,
        welfare_KW=welfare(game.sizes_N, valuations_KN, penalties_K, members_WN).T,
        effective_samples_mean_K=np.array([each.mean for each in supports]),
        effective_samples_minimum_K=np.array([each.minimum for each in supports]),
        low_support_prompts_K=np.array([each.low_prompts for each in supports]),
    )


def effective_samples(log_policy_XJ: Floats) -> Floats:
    """1/Σ_j π(j|x)², shape (X,): N for i.i.d. samples at weight 1/N, 1 if one response has all."""
    samples_X: Floats = 1.0 / np.exp(2.0 * log_policy_XJ).sum(axis=1)
    return samples_X


@dataclass(frozen=True)
class Support:
    """Effective samples of a policy over prompts, and how many prompts have too few."""

    mean: float
    minimum: float
    low_prompts: int


def support(log_policy_XJ: Floats, log_q_XJ: Floats) -> Support:
    """How many of the pool's responses carry a policy; low is below LOW_SUPPORT_SHARE of π₀'s."""
    samples_X = effective_samples(log_policy_XJ)
    low_X = samples_X < LOW_SUPPORT_SHARE * effective_samples(log_q_XJ)
    return Support(float(samples_X.mean()), float(samples_X.min()), int(low_X.sum()))


def support_ratio(divergence: float, samples_per_prompt: int) -> float:
    """KL/log N: no policy on N samples is further than log N nats from the initial model.

    Above SMALL_POOL_RATIO more samples (N ≥ 20·exp(KL)) or a larger λ are due.
    Raises ValueError for fewer than 2 samples, on which there is nothing to choose.
    """
    if samples_per_prompt < 2:
        raise ValueError(f"samples_per_prompt = {samples_per_prompt}, at least 2 are needed")
    return divergence / float(np.log(samples_per_prompt))
