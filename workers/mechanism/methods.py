"""The counterfactual methods: how each finds a world's model, and what it promises.

Source: docs/mechanism.md §4; SCWCD §4.2 and §6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from workers.mechanism.worlds import GRAND, WorldValues


@dataclass(frozen=True)
class Counterfactuals:
    """How a method finds each world's model, and what it promises.

    `trains`: the `grand` model alone, one in `every_world`, or one for every reward model `alone`.
    `prices_delivered`: payments price the model to download; otherwise the pool's optimum.
    `counterfactuals_exact`: ψ₋ᵢ is the pool's exact optimum; otherwise the best candidate.
    `shares_candidates`: the world without i chooses among models that i's report has touched.
    `incentives`: what a false report may gain, in words. `never_worse`: nobody's utility can be
    negative; otherwise it is at least minus the certificate.
    """

    name: str
    trains: Literal["grand", "every_world", "alone"]
    prices_delivered: bool
    counterfactuals_exact: bool
    shares_candidates: bool
    incentives: str
    never_worse: bool = True


_BOUNDED = (
    "On the announced pool no false report, of rewards or of size, gains more than the certificate"
)
_UNTOUCHED = "which nothing in your report can influence"
_NEGATIVE = "can make a payment negative; you are never charged for it"

COUNTERFACTUALS: Mapping[str, Counterfactuals] = {
    method.name: method
    for method in (
        Counterfactuals(
            name="closed_form",
            trains="grand",
            prices_delivered=False,
            counterfactuals_exact=True,
            shares_candidates=False,
            incentives=(
                "Exact on the announced pool: whatever the others report, no false reward model "
                "and no false size gains you anything. The payment prices the pool's best policy; "
                "the model you download approximates it, and the outcome shows how closely."
            ),
        ),
        Counterfactuals(
            name="bound",
            trains="grand",
            prices_delivered=True,
            counterfactuals_exact=True,
            shares_candidates=False,
            incentives=(
                "The payment prices the model you download against the best policy that the pool "
                f"holds without you. No payment is negative. {_BOUNDED}."
            ),
            never_worse=False,
        ),
        Counterfactuals(
            name="retrain",
            trains="every_world",
            prices_delivered=True,
            counterfactuals_exact=False,
            shares_candidates=False,
            incentives=(
                "The payment prices the model you download against one trained without you, "
                f"{_UNTOUCHED}. {_BOUNDED}. An under-trained model without you "
                f"{_NEGATIVE}."
            ),
        ),
        Counterfactuals(
            name="early_stop",
            trains="every_world",
            prices_delivered=True,
            counterfactuals_exact=False,
            shares_candidates=False,
            incentives=(
                "The payment prices the model you download against one trained without you for "
                f"fewer steps, {_UNTOUCHED}. {_BOUNDED}. The short training "
                f"makes payments smaller than a full one would, and {_NEGATIVE}."
            ),
        ),
        Counterfactuals(
            name="checkpoints",
            trains="grand",
            prices_delivered=True,
            counterfactuals_exact=False,
            shares_candidates=True,
            incentives=(
                "Not truthful by construction: the model without you is the best checkpoint of the "
                "one training, which your report has influenced, so a false report can change what "
                "you are charged. The certificate bounds what one may gain on the announced pool."
            ),
        ),
        Counterfactuals(
            name="soup",
            trains="alone",
            prices_delivered=True,
            counterfactuals_exact=False,
            shares_candidates=False,
            incentives=(
                "The payment prices the best mix of all groups' adapters against the best mix "
                f"without yours, {_UNTOUCHED}. The set of mixes depends on the reports, so "
                f"choosing its best is not exactly truthful. {_BOUNDED}. A poor mix without you "
                f"{_NEGATIVE}."
            ),
        ),
    )
}
"""The counterfactual methods by the name that an announcement uses."""


def guarantee(method: Counterfactuals, payment_rule: str) -> str:
    """What a group may rely on, in words: incentives first, then participation.

    The surcharge of `revenue_maximizing` is at most the utility at the pool's optimum, so below it
    a utility may fall short by the grand world's gap. docs/mechanism.md §5.
    """
    surcharged = payment_rule == "revenue_maximizing"
    exact = not method.prices_delivered
    safe = exact if surcharged else method.never_worse
    participation = (
        "Taking part never costs more than it is worth to you."
        if safe
        else "Taking part costs at most the certificate more than it is worth to you."
    )
    surcharge = (
        "A surcharge is added that depends on the others' reports alone: the least that any group "
        "in your place would gain by taking part."
    )
    return " ".join([method.incentives, *([surcharge] if surcharged else []), participation])


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
