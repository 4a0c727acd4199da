"""Settlement: an outcome becomes a model, invoices, postings and receipts, all at once or not."""

from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.ids import new_id
from api_schemas.models import ModelFile
from api_schemas.outcomes import GroupOutcome, Outcome, Valued
from service import audit
from service.database import database_now
from service.jobs import leases
from service.ledger.chain import lock_books
from service.ledger.checks import require_settleable
from service.ledger.opening import open_drafts
from service.ledger.receipts import read_settled_round
from service.models.repository import add_model
from service.outcomes.repository import add_outcome, takes_part
from service.tables import InvoiceRow
from service.vault import Vault


def settle(
    session: Session,
    vault: Vault,
    held: leases.Claim,
    valued: Valued,
    archive: ModelFile,
    outcome_digest: str,
) -> None:
    """Write everything that a settled round leaves, and end its job, in the caller's transaction.

    `archive` and `outcome_digest` name artifacts made before. Invoices are opened at once, unless
    the announcement leaves that to the operator. Raises RoundFailed if the outcome may not be
    settled, DamagedSeal if the reports are not those of the close, LeaseLost or CancelRequested if
    the job is no longer to be settled; whatever it raises, the caller rolls back. A round is
    settled once: its rows' unique keys see to that.
    """
    outcome, job = valued.outcome, held.round_job
    require_settleable(job, outcome)
    with leases.settling(session, held, "settle", outcome_digest):
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
        drafts = _drafts(outcome, now)
        session.add_all(drafts)
        if job.announcement.invoicing == "automatic":
            lock_books(session)
            settled = read_settled_round(session, outcome.round_id)
            open_drafts(session, vault, settled, drafts, database_now(session))
    audit.record(session, "coordinator", "round.settled", outcome.round_id)


def _drafts(outcome: Outcome, now: datetime) -> list[InvoiceRow]:
    """Sorted by group; and by id, so that lists by id are lists by number."""
    groups = sorted(takes_part(outcome.groups), key=lambda group: group.group_id)
    ids = sorted(new_id("inv") for _ in groups)
    return [
        _draft(outcome, group, invoice_id, now)
        for group, invoice_id in zip(groups, ids, strict=True)
    ]


def _draft(outcome: Outcome, group: GroupOutcome, invoice_id: str, now: datetime) -> InvoiceRow:
    assert group.amount_micro_units is not None, "require_settleable has seen to it"
    return InvoiceRow(
        id=invoice_id,
        round_id=outcome.round_id,
        group_id=group.group_id,
        status="draft",
        amount_micro_units=group.amount_micro_units,
        currency=outcome.currency,
        created_at=now,
    )
