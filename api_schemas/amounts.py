"""From agent·reward units to money, exactly: floats never reach the ledger. And when a figure is
the sum of others, which a receipt's reader asks too."""

import math
from collections.abc import Sequence
from fractions import Fraction

_ROUNDING = 1e-9
"""Relative error that a sum of the figures may carry; they are float64's own sums."""


def payment_micro_units(payment: float, price_per_unit_micro_units: int) -> int:
    """floor(p × price), towards −∞, in micro-units of the currency.

    p is taken as the exact rational that the float holds, so no rounding beyond the float's own
    enters. Nobody is charged more, or credited less, than p. docs/mechanism.md §6.
    Raises ValueError for a payment that isn't finite or a negative price.
    """
    return math.floor(_exact_amount(payment, price_per_unit_micro_units))


def largest_gain_micro_units(gain: float, price_per_unit_micro_units: int) -> int:
    """ceil(gain × price), micro-units: a bound in money must not be smaller than the bound."""
    return math.ceil(_exact_amount(gain, price_per_unit_micro_units))


def is_sum(found: float, terms: Sequence[float]) -> bool:
    """Whether `found` is Σ terms, up to the rounding of float64 at the largest term's scale."""
    scale = max(map(abs, terms))
    try:
        total = math.fsum(terms)
    except OverflowError:  # no figure of a round is beyond what a float64 holds
        return False
    return math.isclose(found, total, rel_tol=_ROUNDING, abs_tol=_ROUNDING * scale)


def _exact_amount(units: float, price_per_unit_micro_units: int) -> Fraction:
    if not math.isfinite(units):
        raise ValueError(f"{units} agent·reward units is no amount of money")
    if price_per_unit_micro_units < 0:
        raise ValueError(f"price_per_unit_micro_units = {price_per_unit_micro_units} is negative")
    return Fraction(float(units)) * int(price_per_unit_micro_units)
