"""What must hold of an outcome before money moves: a bug upstream must not become an invoice.

Every group reads why a round failed, so a reason tells of no group and no amount.
"""

import numpy as np

from api_schemas.errors import RoundFailed
from api_schemas.jobs import JobInput
from api_schemas.outcomes import GroupOutcome, Outcome
from workers.mechanism.amounts import payment_micro_units
from workers.mechanism.payments import negative_payments


def require_settleable(job: JobInput, outcome: Outcome) -> None:
    """Raises RoundFailed, naming the field, unless the outcome is of this job and its amounts are
    what the announcement makes of its payments."""
    announced = job.announcement
    _require_same("round_id", outcome.round_id, job.round_id)
    _require_same("announcement_digest", outcome.announcement_digest, job.announcement_digest)
    _require_same("counterfactuals", outcome.counterfactuals, announced.counterfactuals)
    _require_same("payment_rule", outcome.payment_rule, announced.payment_rule)
    _require_same("currency", outcome.currency, announced.currency)
    _require_same(
        "price_per_unit_micro_units",
        outcome.price_per_unit_micro_units,
        announced.price_per_unit_micro_units,
    )
    _require_same("grand worlds", [w.without_group_id for w in outcome.worlds].count(None), 1)
    reported = sorted((report.group_id, report.size) for report in job.reports)
    if sorted((group.group_id, group.size) for group in outcome.groups) != reported:
        raise _inconsistent("its groups and sizes are not those that reported")
    payers = [group for group in outcome.groups if group.excluded is None]
    payments = [_checked_payment(group, announced.price_per_unit_micro_units) for group in payers]
    if announced.on_negative_payment == "fail":
        _require_none_negative(payments, [group.size for group in payers])


def _checked_payment(group: GroupOutcome, price: int) -> float:
    if group.payment is None or None in (group.valuation, group.utility):
        raise _inconsistent("a group takes part, but has no payment, valuation or utility")
    if group.amount_micro_units != payment_micro_units(group.payment, price):
        raise _inconsistent("an amount is not floor(payment × price_per_unit_micro_units)")
    return group.payment


def _require_none_negative(payments: list[float], sizes: list[int]) -> None:
    """Of the payments, not the amounts: −1e-16 from the rounding of sums is −1 micro-unit."""
    if negative_payments(np.array(payments), np.array(sizes)).any():
        raise RoundFailed(
            "a payment is negative, and on_negative_payment is 'fail'; the artifact of the value "
            "stage, whose digest the operator sees, tells whose",
            code="negative_payment",
        )


def _require_same(name: str, found: object, expected: object) -> None:
    if found != expected:
        raise _inconsistent(f"{name} is {found!r}, but {expected!r} was expected")


def _inconsistent(reason: str) -> RoundFailed:
    return RoundFailed(f"the outcome can't be settled: {reason}", code="inconsistent_outcome")
