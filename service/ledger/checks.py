"""What must hold of an outcome before money moves: a bug upstream must not become an invoice.

Every group reads why a round failed, so a reason tells of no group and no amount.
"""

import numpy as np

from api_schemas.amounts import is_sum, payment_micro_units
from api_schemas.errors import RoundFailed
from api_schemas.jobs import JobInput
from api_schemas.outcomes import GroupOutcome, Outcome
from api_schemas.rounds import MAX_EXACT_INTEGER, Announcement
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
    payments = [_checked_payment(group, announced) for group in payers]
    if announced.on_negative_payment == "fail":
        _require_none_negative(payments, [group.size for group in payers])


def _checked_payment(group: GroupOutcome, announced: Announcement) -> float:
    payment, valuation, utility = group.payment, group.valuation, group.utility
    if payment is None or valuation is None or utility is None:
        raise _inconsistent("a group takes part, but has no payment, valuation or utility")
    price = announced.price_per_unit_micro_units
    if group.amount_micro_units != payment_micro_units(payment, price):
        raise _inconsistent("an amount is not floor(payment × price_per_unit_micro_units)")
    if abs(group.amount_micro_units) > MAX_EXACT_INTEGER:
        raise _inconsistent("an amount is beyond the largest integer that JSON carries exactly")
    _require_surcharge(group, announced)
    before, after = group.others_welfare_without, group.others_welfare_with
    if before is not None and after is not None:
        terms = [before, -after, group.surcharge or 0.0]
        _require_sum("payment", payment, terms, "others_welfare_without − with + surcharge")
    _require_sum("utility", utility, [group.size * valuation, -payment], "size·valuation − payment")
    return payment


def _require_surcharge(group: GroupOutcome, announced: Announcement) -> None:
    if (group.surcharge is not None) != (announced.payment_rule == "revenue_maximizing"):
        raise _inconsistent(
            "a group has a surcharge, or lacks one, against payment_rule "
            f"{announced.payment_rule!r}"
        )


def _require_sum(name: str, found: float, terms: list[float], formula: str) -> None:
    if not is_sum(found, terms):
        raise _inconsistent(f"a {name} is not {formula}")


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
