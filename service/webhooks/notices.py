"""What is told to whom: one function for each kind of thing that changes, called where it does."""

from sqlalchemy.orm import Session

from api_schemas.jobs import JobStatus
from api_schemas.ledger import InvoiceStatus
from api_schemas.rounds import RoundState
from api_schemas.webhooks import (
    CreditNoteNews,
    InvoiceNews,
    JobNews,
    ReceiptNews,
    RoundNews,
    WebhookEventType,
)
from service.auth import OPERATOR
from service.tables import CreditNoteRow, InvoiceRow, JobRow, ReceiptRow, RoundRow
from service.webhooks.outbox import publish

_ROUND_TYPES: dict[RoundState, WebhookEventType] = {
    "open": "round.opened",
    "closed": "round.closed",
    "settled": "round.settled",
    "failed": "round.failed",
    "cancelled": "round.cancelled",
}
_INVOICE_TYPES: dict[InvoiceStatus, WebhookEventType] = {
    "open": "invoice.opened",
    "paid": "invoice.paid",
    "void": "invoice.voided",
    "uncollectible": "invoice.uncollectible",
}
_JOB_TYPES: dict[JobStatus, WebhookEventType] = {
    "succeeded": "job.succeeded",
    "failed": "job.failed",
    "cancelled": "job.cancelled",
}


def round_moved(session: Session, row: RoundRow, to: RoundState) -> None:
    """Tell all who see the round that it is in a new state, and nothing else of it.

    A round that was never opened is the operator's alone.
    """
    if to in _ROUND_TYPES:
        owners = None if row.opened_at is not None else [OPERATOR]
        news = RoundNews(round_id=row.id, state=to)
        publish(session, owners, _ROUND_TYPES[to], news.model_dump(mode="json"))


def invoice_changed(session: Session, row: InvoiceRow) -> None:
    """Tell those who see the invoice of its new status: its group only once it was opened."""
    news = _invoice_news(row)
    if news.status in _INVOICE_TYPES:
        owners = [OPERATOR] if row.opened_at is None else [OPERATOR, row.group_id]
        publish(session, owners, _INVOICE_TYPES[news.status], news.model_dump(mode="json"))


def credit_note_created(session: Session, note: CreditNoteRow, invoice: InvoiceRow) -> None:
    news = CreditNoteNews(
        credit_note_id=note.id,
        number=note.number,
        amount_micro_units=note.amount_micro_units,
        invoice=_invoice_news(invoice),
    )
    owners = [OPERATOR, invoice.group_id]
    publish(session, owners, "credit_note.created", news.model_dump(mode="json"))


def receipt_created(session: Session, receipt: ReceiptRow, invoice: InvoiceRow) -> None:
    news = ReceiptNews(
        receipt_id=receipt.id,
        invoice_id=invoice.id,
        round_id=invoice.round_id,
        group_id=invoice.group_id,
        amount_micro_units=invoice.amount_micro_units,
        currency=invoice.currency,
    )
    owners = [OPERATOR, invoice.group_id]
    publish(session, owners, "receipt.created", news.model_dump(mode="json"))


def job_ended(session: Session, row: JobRow) -> None:
    """Tell a job's owner, and nobody else; of a round's own job its round tells."""
    if row.kind == "round":
        return
    news = JobNews.model_validate({"job_id": row.id, "kind": row.kind, "status": row.status})
    owner = row.owner_id or OPERATOR  # audits have no owner, and are the operator's
    publish(session, [owner], _JOB_TYPES[news.status], news.model_dump(mode="json"))


def _invoice_news(row: InvoiceRow) -> InvoiceNews:
    return InvoiceNews.model_validate(
        {
            "invoice_id": row.id,
            "round_id": row.round_id,
            "group_id": row.group_id,
            "number": row.number,
            "status": row.status,
            "amount_micro_units": row.amount_micro_units,
            "currency": row.currency,
        }
    )
