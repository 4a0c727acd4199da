"""What must hold of an outcome before money moves: a bug upstream must not become an invoice."""

from api_schemas.errors import RoundFailed
from api_schemas.jobs import JobInput
from api_schemas.outcomes import GroupOutcome, Outcome
from workers.mechanism.amounts import payment_micro_units


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
    reported = sorted((report.group_id, report.size) for report in job.reports)
    _require_same(
        "groups", sorted((group.group_id, group.size) for group in outcome.groups), reported
    )
    _require_same("grand worlds", [w.without_group_id for w in outcome.worlds].count(None), 1)
    for group in outcome.groups:
        if group.excluded is None:
            _require_payable(job, group)


def _require_payable(job: JobInput, group: GroupOutcome) -> None:
    name, amount = group.group_id, group.amount_micro_units
    if amount is None or None in (group.payment, group.valuation, group.utility):
        raise _inconsistent(f"group {name} takes part, but has no payment, valuation or utility")
    assert group.payment is not None
    price = job.announcement.price_per_unit_micro_units
    _require_same(f"amount of {name}", amount, payment_micro_units(group.payment, price))
    if amount < 0 and job.announcement.on_negative_payment == "fail":
        raise RoundFailed(
            f"group {name} would be credited {-amount} micro-units, and the announcement says "
            "that a negative payment fails the round",
            code="negative_payment",
        )


def _require_same(name: str, found: object, expected: object) -> None:
    if found != expected:
        raise _inconsistent(f"{name} is {found!r}, but {expected!r} was expected")


def _inconsistent(reason: str) -> RoundFailed:
    return RoundFailed(f"the outcome can't be settled: {reason}", code="inconsistent_outcome")
