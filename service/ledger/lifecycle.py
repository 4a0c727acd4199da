"""The states of an invoice, and what each way from one to another posts.

`draft → open → paid | void | uncollectible`, and `uncollectible → paid`. Every function works on a
locked row and raises Conflict, naming the state, where it may not. The key of a payment's or a
credit note's entry holds a digest of it, so that the ledger's chain covers that row too.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api_schemas.errors import Conflict, InvalidInput
from api_schemas.ids import new_id
from api_schemas.ledger import CreditNoteCreate, InvoiceStatus, PaymentCreate
from service.database import database_now
from service.ledger.balances import BAD_DEBT, CASH, REVENUE, Balance, balances, receivable
from service.ledger.chain import append_entry, lock_books, to_microseconds
from service.tables import CreditNoteRow, InvoicePaymentRow, InvoiceRow
from service.vault import Vault
from service.webhooks import notices
from workers.artifacts import canonical_json, sha256_of


def require_status(row: InvoiceRow, deed: str, *allowed: InvoiceStatus) -> None:
    """Raises Conflict for any other status; `deed` completes "it can't …"."""
    if row.status not in allowed:
        raise Conflict(
            f"invoice {row.id} is {row.status}; it can't {deed}, which needs one that is "
            f"{' or '.join(allowed)}",
            code="illegal_transition",
        )


def void(session: Session, vault: Vault, row: InvoiceRow) -> None:
    """Ask for nothing any more: what is due is reversed; what was paid stays paid."""
    require_status(row, "be voided", "draft", "open")
    now = _lock_and_read_clock(session)
    if row.status == "open":
        due = _balance(session, row).outstanding
        amounts = {receivable(row.group_id): -due, REVENUE: due}
        append_entry(session, vault, "invoice.voided", void_key(row), row, amounts, now)
    row.status, row.ended_at = "void", now
    notices.invoice_changed(session, row)


def write_off(session: Session, vault: Vault, row: InvoiceRow) -> None:
    """What is due becomes bad debt: nobody expects it, and it may still be paid."""
    require_status(row, "become uncollectible", "open")
    if row.amount_micro_units < 0:
        raise Conflict(
            f"invoice {row.id} is a debt of the operator to the group, which the operator can't "
            "write off: pay it, or void it",
            code="not_receivable",
        )
    now = _lock_and_read_clock(session)
    due = _balance(session, row).outstanding
    amounts = {BAD_DEBT: due, receivable(row.group_id): -due}
    append_entry(session, vault, "invoice.uncollectible", write_off_key(row), row, amounts, now)
    row.status, row.ended_at = "uncollectible", now
    notices.invoice_changed(session, row)


def record_payment(
    session: Session, vault: Vault, row: InvoiceRow, asked: PaymentCreate
) -> InvoicePaymentRow:
    """Money that came from the group, or went to it. Raises InvalidInput for more than is due."""
    require_status(row, "take a payment", "open", "uncollectible", "paid")
    now = _lock_and_read_clock(session)
    before = _balance(session, row)
    amount = asked.amount_micro_units
    _require_due(row, before.outstanding, amount)
    payment = InvoicePaymentRow(
        id=new_id("pay"),
        invoice_id=row.id,
        amount_micro_units=amount,
        reference=asked.reference,
        created_at=now,
    )
    session.add(payment)
    owed_in = BAD_DEBT if row.status == "uncollectible" else receivable(row.group_id)
    amounts = {CASH: amount, owed_in: -amount}
    append_entry(session, vault, "payment.recorded", payment_key(payment), row, amounts, now)
    left = Balance(before.amount, before.credited, before.paid + amount)
    _end_if_settled(session, row, left, now)
    return payment


def add_credit_note(
    session: Session, vault: Vault, row: InvoiceRow, asked: CreditNoteCreate
) -> CreditNoteRow:
    """Take back a part of the invoice: of what is due first, then of what was paid, which is owed
    back. Raises InvalidInput for more than the invoice amounts to."""
    require_status(row, "get a credit note", "open", "uncollectible", "paid")
    now = _lock_and_read_clock(session)
    before = _balance(session, row)
    amount = asked.amount_micro_units
    _require_left(before, amount)
    note = CreditNoteRow(
        id=new_id("cn"),
        number=(session.scalar(select(func.max(CreditNoteRow.number))) or 0) + 1,
        invoice_id=row.id,
        amount_micro_units=amount,
        reason=asked.reason,
        created_at=now,
    )
    session.add(note)
    written_off = min(amount, before.outstanding) if row.status == "uncollectible" else 0
    amounts = {
        REVENUE: amount,
        BAD_DEBT: -written_off,
        receivable(row.group_id): written_off - amount,
    }
    append_entry(session, vault, "credit_note.issued", credit_note_key(note), row, amounts, now)
    left = Balance(before.amount, before.credited + amount, before.paid)
    _end_if_settled(session, row, left, now)
    notices.credit_note_created(session, note, row)
    return note


def void_key(row: InvoiceRow) -> str:
    """The key of the entry that reverses a void invoice."""
    return f"void:{row.id}"


def write_off_key(row: InvoiceRow) -> str:
    """The key of the entry that makes an invoice bad debt."""
    return f"uncollectible:{row.id}"


def payment_key(row: InvoicePaymentRow) -> str:
    """The key of a payment's entry."""
    booked = {"reference": row.reference}
    return _key("payment", row.id, booked, row.amount_micro_units, row.created_at)


def credit_note_key(row: CreditNoteRow) -> str:
    """The key of a credit note's entry."""
    booked = {"number": row.number, "reason": row.reason}
    return _key("credit_note", row.id, booked, row.amount_micro_units, row.created_at)


def _key(kind: str, id_: str, booked: dict[str, Any], amount: int, created_at: datetime) -> str:
    value = booked | {"amount_micro_units": amount, "created_at": to_microseconds(created_at)}
    return f"{kind}:{id_}:{sha256_of(canonical_json(value))}"


def _lock_and_read_clock(session: Session) -> datetime:
    """The books first, so that entries' times follow their order."""
    lock_books(session)
    return database_now(session)


def _balance(session: Session, row: InvoiceRow) -> Balance:
    return balances(session, [row])[row.id]


def _require_due(row: InvoiceRow, due: int, amount: int) -> None:
    if due == 0:
        raise Conflict(f"invoice {row.id} is {row.status}; nothing is due", code="nothing_due")
    if amount == 0 or (amount > 0) != (due > 0) or abs(amount) > abs(due):
        raise InvalidInput(
            f"amount_micro_units {amount} is not between 0 and the {due} that are due, 0 excluded",
            param="amount_micro_units",
        )


def _require_left(balance: Balance, amount: int) -> None:
    left = balance.amount - balance.credited
    if amount == 0 or (amount > 0) != (balance.amount > 0) or abs(amount) > abs(left):
        raise InvalidInput(
            f"amount_micro_units {amount} is not between 0 and {left}, 0 excluded: the invoice "
            f"amounts to {balance.amount}, of which {balance.credited} are credited already",
            param="amount_micro_units",
        )


def _end_if_settled(session: Session, row: InvoiceRow, balance: Balance, now: datetime) -> None:
    if row.status != "paid" and balance.is_settled:
        row.status, row.ended_at = "paid", now
        notices.invoice_changed(session, row)
