"""What each group pays, by the affine maximizer, and how much a lie could gain at most."""

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import ArrayLike

from workers.mechanism.arrays import Floats, Mask, checked_finite
from workers.mechanism.worlds import GRAND, WorldValues, checked_sizes, membership, welfare

_ROUNDING = 1e-12
"""Relative error that float64 sums of welfare may carry; beyond it a difference is real."""


@dataclass(frozen=True)
class Counterfactuals:
    """How a method finds each world's model, and what it promises.

    `trains_counterfactuals`: the worlds without i are trained too, not only the grand one.
    `prices_delivered`: payments price the model to download; otherwise the pool's optimum.
    `counterfactuals_exact`: ψ₋ᵢ is the pool's exact optimum; otherwise the best trained candidate.
    `guarantee`: what a group may rely on, in words.
    """

    name: str
    trains_counterfactuals: bool
    prices_delivered: bool
    counterfactuals_exact: bool
    guarantee: str

    def trained_worlds(self, groups: int) -> tuple[int, ...]:
        """The worlds to train: the grand one, which is delivered, and those the method needs."""
        return tuple(range(groups + 1)) if self.trains_counterfactuals else (GRAND,)


COUNTERFACTUALS: Mapping[str, Counterfactuals] = {
    method.name: method
    for method in (
        Counterfactuals(
            name="closed_form",
            trains_counterfactuals=False,
            prices_delivered=False,
            counterfactuals_exact=True,
            guarantee=(
                "Exact on the announced pool: whatever the others report, no false reward model "
                "and no false size gains you anything, and taking part never costs more than it is "
                "worth to you. The payment prices the pool's best policy; the model you download "
                "approximates it, and the outcome shows how closely."
            ),
        ),
        Counterfactuals(
            name="bound",
            trains_counterfactuals=False,
            prices_delivered=True,
            counterfactuals_exact=True,
            guarantee=(
                "The payment prices the model you download against the best policy that the pool "
                "holds without you. No payment is negative. On the announced pool no false report "
                "gains more than the certificate, and taking part costs at most that much more "
                "than it is worth to you."
            ),
        ),
        Counterfactuals(
            name="retrain",
            trains_counterfactuals=True,
            prices_delivered=True,
            counterfactuals_exact=False,
            guarantee=(
                "The payment prices the model you download against one trained without you, which "
                "nothing in your report can influence. On the announced pool no false report gains "
                "more than the certificate, and taking part never costs more than it is worth to "
                "you. An under-trained model without you can make a payment negative; you are "
                "never charged for it."
            ),
        ),
    )
}
"""The counterfactual methods by the name that an announcement uses. docs/mechanism.md §4."""


@dataclass(frozen=True, eq=False)
class Payments:
    """Per group, agent·reward units: both terms of the payment, the payment, and the utility."""

    others_welfare_without_N: Floats
    others_welfare_with_N: Floats
    payments_N: Floats
    utilities_N: Floats


def priced_worlds(
    method: Counterfactuals, optimum: WorldValues, trained: WorldValues | None
) -> WorldValues:
    """The models that the method prices: its grand world's first, then those without each group.

    `optimum` is the pool's exact solution, `trained` the chosen candidates (None if no training
    has been valued). Under `bound` only the trained grand row is read.
    Raises ValueError if the method needs `trained` and there is none.
    """
    if trained is None:
        if method.prices_delivered or not method.counterfactuals_exact:
            raise ValueError(f"method {method.name!r} prices trained models, none was given")
        return optimum
    grand = trained if method.prices_delivered else optimum
    others = optimum if method.counterfactuals_exact else trained
    valuations_WN = others.valuations_WN.copy()
    penalties_W = others.penalties_W.copy()
    valuations_WN[GRAND] = grand.valuations_WN[GRAND]
    penalties_W[GRAND] = grand.penalties_W[GRAND]
    return WorldValues(valuations_WN, penalties_W)


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
    welfare_NW = welfare(sizes_N, valuations_WN, penalties_W, membership(groups)[1:])
    without_N = welfare_NW[:, 1:].diagonal().copy()
    with_N = welfare_NW[:, GRAND]
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
