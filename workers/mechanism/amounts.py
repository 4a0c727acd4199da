"""From agent·reward units to money, exactly: floats never reach the ledger."""

import math
from fractions import Fraction


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


def _exact_amount(units: float, price_per_unit_micro_units: int) -> Fraction:
    if not math.isfinite(units):
        raise ValueError(f"{units} agent·reward units is no amount of money")
    if price_per_unit_micro_units < 0:
        raise ValueError(f"price_per_unit_micro_units = {price_per_unit_micro_units} is negative")
    return Fraction(float(units)) * int(price_per_unit_micro_units)
