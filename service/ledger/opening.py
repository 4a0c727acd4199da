"""Drafts, and their opening: an invoice gets its number, its postings and its receipt at once."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api_schemas.ledger import LedgerHead
from service.database import database_now
from service.ledger.balances import REVENUE, receivable
from service.ledger.chain import append_entry, last_head, lock_books
from service.ledger.lifecycle import require_status
from service.ledger.receipts import SettledRound, make_receipt, read_settled_round
from service.tables import InvoiceRow
from service.vault import Vault
from service.webhooks import notices


def open_invoice(session: Session, vault: Vault, row: InvoiceRow) -> None:
    """Open a locked draft. Raises Conflict for what is none."""
    require_status(row, "be opened", "draft")
    settled = read_settled_round(session, row.round_id)
    lock_books(session)
    open_drafts(session, vault, settled, [row], database_now(session))


def open_drafts(
    session: Session,
    vault: Vault,
    settled: SettledRound,
    drafts: list[InvoiceRow],
    now: datetime,
) -> None:
    """Number, post and receipt drafts of a round; the caller has the books locked.

    A sequence would leave a gap at each rollback. What amounts to 0 is paid at once, unposted.
    """
    last = session.scalar(select(func.max(InvoiceRow.number))) or 0
    for number, row in enumerate(drafts, start=last + 1):
        row.number, row.opened_at = number, now
        head = _post(session, vault, row, now)
        receipt = make_receipt(session, vault, settled, row, head, now)
        session.add(receipt)
        notices.invoice_changed(session, row)
        notices.receipt_created(session, receipt, row)
    session.flush()


def _post(session: Session, vault: Vault, row: InvoiceRow, now: datetime) -> LedgerHead | None:
    """The ledger's head once the invoice is posted: the group owes the amount (is owed it, if
    negative), the operator earns it."""
    amount = row.amount_micro_units
    if amount == 0:
        row.status, row.ended_at = "paid", now
        return last_head(session)
    row.status = "open"
    amounts = {receivable(row.group_id): amount, REVENUE: -amount}
    return append_entry(session, vault, "invoice.opened", opening_key(row), row, amounts, now)


def opening_key(row: InvoiceRow) -> str:
    """The key of an opened invoice's entry."""
    return f"invoice:{row.round_id}:{row.group_id}"
