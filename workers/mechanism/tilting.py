"""Exponential tilting of the base weights: every policy on the pool is one."""

from dataclasses import dataclass

import numpy as np

from workers.mechanism.arrays import Floats, log_mean_exp


@dataclass(frozen=True, eq=False)
class Tilted:
    """The policy π ∝ q·exp(f/s) of each prompt.

    `log_policy_XJ`: log π(j|x), −inf where q or exp(f/s) is 0. `divergence_X`: KL(π ‖ q), nats.
    `soft_maximum_X`: s·log Σ_j q exp(f/s), in units of f.
    """

    log_policy_XJ: Floats
    divergence_X: Floats
    soft_maximum_X: Floats


def tilt(log_q_XJ: Floats, values_XJ: Floats, scale: float = 1.0) -> Tilted:
    """Tilt q, which sums to 1, by f/s for values f (finite or −inf) and a scale s > 0.

    With m = max_j f over the support of q and z = (f − m)/s ≤ 0:
        ζ = log Σ_j q exp(z),  log π = log q + z − ζ,  KL = Σ_j π z − ζ,  soft maximum = m + s·ζ
    KL never subtracts logarithms of probabilities: s·KL keeps its digits when s is large and π is
    within 1e-9 of q. Every prompt needs a finite f somewhere on the support.
    """
    support_XJ = ~np.isneginf(log_q_XJ)
    peak_X = np.where(support_XJ, values_XJ, -np.inf).max(axis=1)
    with np.errstate(over="ignore", under="ignore"):
        tilt_XJ = np.where(support_XJ, values_XJ - peak_X[:, None], 0.0) / scale
        log_mean_X = log_mean_exp(log_q_XJ, tilt_XJ)
        log_policy_XJ = log_q_XJ + tilt_XJ - log_mean_X[:, None]
        mean_tilt_X = expectation(np.exp(log_policy_XJ), tilt_XJ)
    return Tilted(log_policy_XJ, mean_tilt_X - log_mean_X, peak_X + scale * log_mean_X)


def expectation(policy_XJ: Floats, values_XJ: Floats) -> Floats:
    """Σ_j π(j|x) f(x, j), shape (X,); f counts for nothing, even −inf, where π is 0."""
    total_X: Floats = (policy_XJ * np.where(policy_XJ > 0, values_XJ, 0.0)).sum(axis=1)
    return total_X
