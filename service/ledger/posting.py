"""Settlement: an outcome becomes a model, invoices, postings and receipts, all at once or not."""

from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.ids import new_id
from api_schemas.jobs import ReportInput
from api_schemas.models import ModelFile
from api_schemas.outcomes import GroupOutcome, Outcome, Valued
from service import audit
from service.database import database_now
from service.jobs import leases
from service.ledger import repository
from service.ledger.checks import require_settleable
from service.ledger.receipts import make_receipt
from service.models.repository import add_model
from service.outcomes.repository import add_outcome, takes_part
from service.tables import InvoiceRow, PostingRow

REVENUE = "operator:revenue"


def settle(
    session: Session,
    held: leases.Claim,
    valued: Valued,
    archive: ModelFile,
    outcome_digest: str,
) -> None:
    """Write everything that a settled round leaves, and end its job, in the caller's transaction.

    `archive` and `outcome_digest` name artifacts made before. Raises RoundFailed if the outcome may
    not be settled, LeaseLost or CancelRequested if the job is no longer to be settled; whatever it
    raises, the caller rolls back. A round is settled once: its rows' unique keys see to that.
    """
    outcome, job = valued.outcome, held.round_job
    require_settleable(job, outcome)
    leases.begin_settlement(session, held)
    leases.finish_stage(session, held, "settle", outcome_digest)
    now = database_now(session)
    add_outcome(session, outcome, outcome_digest, now)
    add_model(
        session,
        outcome.round_id,
        job.announcement,
        outcome.adapter_digest,
        valued.adapter_files,
        archive,
        now,
    )
    reports = {report.group_id: report for report in job.reports}
    next_number = repository.lock_last_number(session) + 1
    for number, group in enumerate(_by_id(takes_part(outcome.groups)), start=next_number):
        _bill(session, outcome, group, reports[group.group_id], number, now)
    leases.succeed(session, held)
    audit.record(session, "coordinator", "round.settled", outcome.round_id)


def _bill(
    session: Session,
    outcome: Outcome,
    group: GroupOutcome,
    report: ReportInput,
    number: int,
    now: datetime,
) -> None:
    amount = group.amount_micro_units
    assert amount is not None, "require_settleable has seen to it"
    invoice = InvoiceRow(
        id=new_id("inv"),
        number=number,
        round_id=outcome.round_id,
        group_id=group.group_id,
        status="open" if amount else "paid",
        amount_micro_units=amount,
        currency=outcome.currency,
        created_at=now,
    )
    session.add(invoice)
    session.flush()
    if amount:
        session.add_all(_entry(invoice))
    session.add(make_receipt(outcome, group, report, invoice, now))


def _entry(invoice: InvoiceRow) -> list[PostingRow]:
    """The group owes the amount (is owed it, if negative), the operator earns it: the sum is 0."""
    amounts = {
        f"receivable:{invoice.group_id}": invoice.amount_micro_units,
        REVENUE: -invoice.amount_micro_units,
    }
    return [
        PostingRow(
            id=new_id("pst"),
            entry_key=f"invoice:{invoice.round_id}:{invoice.group_id}",
            account=account,
            amount_micro_units=amount,
            currency=invoice.currency,
            invoice_id=invoice.id,
            created_at=invoice.created_at,
        )
        for account, amount in amounts.items()
    ]


def _by_id(groups: list[GroupOutcome]) -> list[GroupOutcome]:
    return sorted(groups, key=lambda group: group.group_id)
