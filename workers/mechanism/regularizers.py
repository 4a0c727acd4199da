"""The announced distances from the initial model, each with its exact optimum on the pool.

A regulariser D and its coefficient λ > 0 (agent·reward units per unit of D) make welfare
Σᵢ wᵢ vᵢ(π) − λ·D(π). Source: docs/mechanism.md §1 and §2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from workers.mechanism.arrays import Floats
from workers.mechanism.tilting import Tilted, expectation, tilt


@dataclass(frozen=True, eq=False)
class PromptOptima:
    """The policy of each prompt that maximises Σ_j π(j) S(j) − λ·D(π).

    `log_policy_XJ`: log π, −inf where π is 0. `divergence_X`: D. `welfare_X`: the maximum.
    """

    log_policy_XJ: Floats
    divergence_X: Floats
    welfare_X: Floats


class Regularizer(Protocol):
    """A distance D(π ‖ q) of one prompt's policy from the base weights."""

    @property
    def name(self) -> str:
        """As an announcement calls it."""

    @property
    def unit(self) -> str: ...

    def maximise(self, log_q_XJ: Floats, welfare_XJ: Floats, coefficient: float) -> PromptOptima:
        """The exact optimum for S = `welfare_XJ`; q sums to 1 on every prompt."""

    def divergence(self, policy: Tilted, log_q_XJ: Floats) -> Floats:
        """D of a policy that is a tilting of q, shape (X,)."""


@dataclass(frozen=True)
class KL:
    """D = Σ_j π log(π/q), nats.

        π*(j) ∝ q(j) exp(S(j)/λ)          maximum = λ log Σ_j q(j) exp(S(j)/λ)

    The Gibbs variational principle; docs/mechanism.md §2.
    """

    name: str = "kl"
    unit: str = "nats"

    def maximise(self, log_q_XJ: Floats, welfare_XJ: Floats, coefficient: float) -> PromptOptima:
        tilted = tilt(log_q_XJ, welfare_XJ, coefficient)
        return PromptOptima(tilted.log_policy_XJ, tilted.divergence_X, tilted.soft_maximum_X)

    def divergence(self, policy: Tilted, log_q_XJ: Floats) -> Floats:
        return policy.divergence_X


@dataclass(frozen=True)
class L2:
    """D = Σ_j (π(j) − q(j))², at most 2.

        π* = projection of q + S/(2λ) onto the probability simplex

    because Σ_j π S − λ Σ_j (π − q)² = const − λ ‖π − (q + S/(2λ))‖². docs/mechanism.md §2. Unlike
    KL it may give weight to a response whose base weight is 0, and it tells duplicates apart.
    """

    name: str = "l2"
    unit: str = "squared probability"

    def maximise(self, log_q_XJ: Floats, welfare_XJ: Floats, coefficient: float) -> PromptOptima:
        q_XJ = np.exp(log_q_XJ)
        # A constant changes no projection; without the largest S a small λ would cost digits.
        peak_X1 = welfare_XJ.max(axis=1, keepdims=True)
        policy_XJ = project_on_simplex(q_XJ + (welfare_XJ - peak_X1) / (2 * coefficient))
        divergence_X = ((policy_XJ - q_XJ) ** 2).sum(axis=1)
        with np.errstate(divide="ignore"):
            log_policy_XJ = np.log(policy_XJ)
        value_X = expectation(policy_XJ, welfare_XJ)
        return PromptOptima(log_policy_XJ, divergence_X, value_X - coefficient * divergence_X)

    def divergence(self, policy: Tilted, log_q_XJ: Floats) -> Floats:
        squares_XJ = (np.exp(policy.log_policy_XJ) - np.exp(log_q_XJ)) ** 2
        divergence_X: Floats = squares_XJ.sum(axis=1)
        return divergence_X


REGULARIZERS: Mapping[str, Regularizer] = {each.name: each for each in (KL(), L2())}
"""The regularisers by the name that an announcement uses."""


def project_on_simplex(points_XJ: Floats) -> Floats:
    """The nearest probability vector to each row, shape (X, J), exactly.

    π = max(a − τ, 0) with τ = (Σ_{j ≤ k} a_(j) − 1)/k for the largest k with a_(k) > τ, where
    a_(1) ≥ a_(2) ≥ … are the sorted entries (Duchi et al., ICML 2008, figure 1).
    """
    descending_XJ = -np.sort(-points_XJ, axis=1)
    count_J = np.arange(1, points_XJ.shape[1] + 1)
    threshold_XJ = (descending_XJ.cumsum(axis=1) - 1.0) / count_J
    kept_X = (descending_XJ > threshold_XJ).sum(axis=1)
    threshold_X = np.take_along_axis(threshold_XJ, kept_X[:, None] - 1, axis=1)
    policy_XJ: Floats = np.maximum(points_XJ - threshold_X, 0.0)
    # The sum is 1 up to rounding; scaled, a policy's valuation is never above its largest reward.
    policy_XJ /= policy_XJ.sum(axis=1, keepdims=True)
    return policy_XJ
