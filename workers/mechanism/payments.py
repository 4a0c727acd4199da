"""What each group pays, by the affine maximizer, and how much a lie could gain at most."""

from dataclasses import dataclass

from numpy.typing import ArrayLike

from workers.mechanism.arrays import Floats, Mask, checked_finite
from workers.mechanism.worlds import (
    GRAND,
    WorldValues,
    checked_sizes,
    membership,
    own_welfare,
    welfare,
)

_ROUNDING = 1e-12
"""Relative error that float64 sums of welfare may carry; beyond it a difference is real."""


@dataclass(frozen=True, eq=False)
class Payments:
    """Per group, agent·reward units: both terms of the payment, the payment, and the utility.

    `surcharges_N`: what `revenue_maximizing` has added to the payments, None under the other rule.
    """

    others_welfare_without_N: Floats
    others_welfare_with_N: Floats
    payments_N: Floats
    utilities_N: Floats
    surcharges_N: Floats | None = None


def affine_maximizer(sizes: ArrayLike, worlds: WorldValues) -> Payments:
    """pᵢ = ASW₋ᵢ(ψ₋ᵢ) − ASW₋ᵢ(ψ),  uᵢ = wᵢ vᵢ(ψ) − pᵢ; all of shape (N,), agent·reward units.

    ASW₋ᵢ(π) = Σ_{j≠i} wⱼ vⱼ(π) − λ·D(π). Row 0 of `worlds` is ψ, row 1 + i is ψ₋ᵢ. Never clamped:
    a negative pᵢ shows that ψ₋ᵢ is not the optimum of its world.
    Source: SCWCD §4.1; docs/mechanism.md §1 and §4.
    """
    sizes_N = checked_sizes(sizes)
    groups = len(sizes_N)
    valuations_WN = checked_finite("valuations_WN", worlds.valuations_WN, (groups + 1, groups))
    penalties_W = checked_finite("penalties_W", worlds.penalties_W, (groups + 1,))
    others_NN = membership(groups)[1:]
    without_N = own_welfare(sizes_N, valuations_WN[1:], penalties_W[1:], others_NN)
    with_N = welfare(sizes_N, valuations_WN[:1], penalties_W[:1], others_NN)[:, GRAND]
    payments_N = without_N - with_N
    return Payments(
        others_welfare_without_N=without_N,
        others_welfare_with_N=with_N,
        payments_N=payments_N,
        utilities_N=sizes_N * valuations_WN[GRAND] - payments_N,
    )


def negative_payments(payments_N: Floats, sizes_N: Floats) -> Mask:
    """Payments below 0 by more than the rounding of float64 sums, 1e-12·Σw; shape (N,).

    Exact methods may show −1e-16 where the payment is 0; that must not fail a round.
    """
    negative_N: Mask = payments_N < -_ROUNDING * float(sizes_N.sum())
    return negative_N


def optimality_gap(welfare_optimum: float, welfare_chosen: float, scale: float) -> float:
    """ASW* − ASW(ψ) ≥ 0 of one world, agent·reward units.

    Of the grand world it is the incentive certificate: whatever i reports, its utility is
    ASW_true(ψ) − ASW₋ᵢ(ψ₋ᵢ), whose second term its report can't change, so no false report of
    rewards or size gains more than the gap. docs/mechanism.md §4. `scale` is Σw; a gap below 0 by
    more than 1e-12·Σw means that the two welfares are not of the same pool: raises ValueError.
    """
    gap = welfare_optimum - welfare_chosen
    if not gap >= -_ROUNDING * scale:
        raise ValueError(
            f"welfare {welfare_chosen} exceeds the optimum {welfare_optimum} of its pool"
        )
    return max(gap, 0.0)


def shared_candidates_gain(
    grand_gap: float, welfare_without_N: Floats, welfare_initial_without_N: Floats
) -> float:
    """The most that a false report gains where ψ₋ᵢ is chosen among models that it has touched.

    Any report's utility is at most ASW* − ASW₋ᵢ(π₀), for π₀ is always among them; the truth's is
    ASW(ψ) − ASW₋ᵢ(ψ₋ᵢ). So no report gains more than
        (ASW* − ASW(ψ)) + max_i (ASW₋ᵢ(ψ₋ᵢ) − ASW₋ᵢ(π₀)),
    the grand gap and what the shared models bring to a world without a group. docs/mechanism.md §4.
    """
    return grand_gap + float((welfare_without_N - welfare_initial_without_N).max())
