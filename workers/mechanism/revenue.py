"""The revenue-maximising payment: a surcharge that no truthful group regrets. SCWCD Cor. 4.6."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from workers.mechanism.arrays import Floats, checked, checked_finite
from workers.mechanism.closed_form import optimum
from workers.mechanism.payments import Payments
from workers.mechanism.worlds import PoolGame, membership, weighted_rewards

_LARGEST_EXPONENT = 700.0
"""e^700 is still a float64; beyond it λ log(1 + p(e^{1/λ} − 1)) is λ log(1 + p e^{1/λ}) exactly."""

_PEAK_TOLERANCE = 1e-9
"""How far a group's largest reward may be from 1; the surcharge exceeds uᵢ by no more than this
times its size."""


def surcharges(game: PoolGame) -> Floats:
    """inf over (r′, w′) of uᵢ at truth-telling, shape (N,), agent·reward units, at least 0.

    Over the max-normalised domain, max r′ = 1, and w′ ≥ 1. uᵢ grows with both, so the infimum is
    at w′ = 1 and r′ = the indicator of one response j of one prompt x: what the others' optimum
    gains by it there, times the prompt's weight ρ_x,
        min over (x, j) of ρ_x·(max_π [Σ_k π S₋ᵢ + π(j) − λ·D(π)] − max_π [Σ_k π S₋ᵢ − λ·D(π)]).
    It is free of i's own report. A prompt of weight 0 makes it 0, and so does, under KL, a response
    of base weight 0. Source: docs/mechanism.md §5.
    """
    gains = _gains_kl if game.regularizer == "kl" else _gains_l2
    return np.array(
        [float((game.prompt_weights_X * gains(game, i)).min()) for i in range(game.groups)]
    )


def _gains_kl(game: PoolGame, i: int) -> Floats:
    """The least gain of each prompt: it grows with π*₋ᵢ(j|x), so j is the least likely response."""
    log_policy_XJ = optimum(game, 1 + i).log_policy_XJ
    return gain_of_a_response(game.coefficient * log_policy_XJ.min(axis=1), game.coefficient)


def gain_of_a_response(scaled_log_policy: Floats, coefficient: float) -> Floats:
    """λ log(1 + p(e^{1/λ} − 1)): what the KL optimum gains when a response becomes worth 1 more.

    `scaled_log_policy` is λ·log p, agent·reward units, of the response's probability p before; in
    this form nothing overflows however small λ is. docs/mechanism.md §5.
    """
    checked("scaled_log_policy", scaled_log_policy, (None,))
    if coefficient * _LARGEST_EXPONENT >= 1:
        probability = np.exp(scaled_log_policy / coefficient)
        gain: Floats = coefficient * np.log1p(probability * np.expm1(1 / coefficient))
        return gain
    with np.errstate(over="ignore", under="ignore"):
        rest = np.log1p(np.exp(-np.abs(scaled_log_policy + 1) / coefficient))
    gain = np.maximum(scaled_log_policy + 1, 0.0) + coefficient * rest
    return gain


def _gains_l2(game: PoolGame, i: int) -> Floats:
    """The least gain of each prompt, by two projections.

    With a = q + S₋ᵢ/(2λ) the optimum's value is λ·max_π (2⟨π, a⟩ − ‖π‖²) + const, a symmetric
    convex function of a, hence Schur-convex; adding 1/(2λ) to the smallest entry of a gives a
    vector that every a + e_j/(2λ) majorises, so that j has the least gain.
    """
    members_1N = membership(game.groups)[1 + i : 2 + i]
    welfare_XJ = weighted_rewards(game.sizes_N, game.rewards_NXJ, members_1N)[0]
    least_X = (2 * game.coefficient * np.exp(game.log_q_XJ) + welfare_XJ).argmin(axis=1)
    raised_XJ = welfare_XJ.copy()
    raised_XJ[np.arange(len(least_X)), least_X] += 1.0
    before = game.divergence.maximise(game.log_q_XJ, welfare_XJ, game.coefficient)
    after = game.divergence.maximise(game.log_q_XJ, raised_XJ, game.coefficient)
    # Below 0 by rounding only: a higher S can't have a lower maximum.
    gains_X: Floats = np.maximum(after.welfare_X - before.welfare_X, 0.0)
    return gains_X


def revenue_maximizing(payments: Payments, surcharges_N: ArrayLike) -> Payments:
    """p*ᵢ = pᵢ + surcharge, uᵢ less by as much. docs/mechanism.md §5.

    The surcharge depends on the others only, so truth-telling stays dominant, and uᵢ stays ≥ 0 for
    reports within `outside_domain`'s domain. Raises ValueError for payments that hold one already.
    """
    added_N = checked_finite("surcharges_N", surcharges_N, payments.payments_N.shape)
    if payments.surcharges_N is not None:
        raise ValueError("these payments hold a surcharge already")
    return replace(
        payments,
        payments_N=payments.payments_N + added_N,
        utilities_N=payments.utilities_N - added_N,
        surcharges_N=added_N,
    )


def outside_domain(smallest_N: Floats, largest_N: Floats) -> dict[int, str]:
    """Why each group's rewards are outside the max-normalised domain; empty where none are.

    `smallest_N` and `largest_N` are the extremes of each group's rewards on the whole pool. A
    constant report could dodge the surcharge, and one that stays below 1 could be charged more
    than the outcome is worth to it. docs/mechanism.md §5.
    """
    checked("smallest_N", smallest_N, largest_N.shape)
    reasons = {}
    for i, (smallest, largest) in enumerate(zip(smallest_N, largest_N, strict=True)):
        if smallest == largest:
            reasons[i] = f"all rewards are {float(largest)}, a constant could dodge the surcharge"
        elif not abs(largest - 1) <= _PEAK_TOLERANCE:
            reasons[i] = f"the largest reward is {float(largest)}, expected 1"
    return reasons
