"""Faults of invoices: status, times and receipt must be what the ledger's entries came to."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.ledger import lifecycle
from service.ledger.balances import BAD_DEBT, CASH, REVENUE, Balance, receivable
from service.ledger.faults.receipts import receipt_faults
from service.ledger.faults.signatures import KnownKeys
from service.ledger.opening import opening_key
from service.tables import (
    CreditNoteRow,
    InvoicePaymentRow,
    InvoiceRow,
    LedgerEntryRow,
    PostingRow,
    ReceiptRow,
)

_BATCH = 200


@dataclass
class _Papers:
    """All that the books hold of one invoice."""

    invoice: InvoiceRow
    entries: list[LedgerEntryRow] = field(default_factory=list)
    postings: list[PostingRow] = field(default_factory=list)
    payments: list[InvoicePaymentRow] = field(default_factory=list)
    notes: list[CreditNoteRow] = field(default_factory=list)
    receipts: list[ReceiptRow] = field(default_factory=list)

    @property
    def was_opened(self) -> bool:
        return self.invoice.number is not None

    @property
    def balance(self) -> Balance:
        return Balance(
            self.invoice.amount_micro_units,
            sum(note.amount_micro_units for note in self.notes),
            sum(payment.amount_micro_units for payment in self.payments),
        )

    def entry(self, key: str) -> LedgerEntryRow | None:
        return next((entry for entry in self.entries if entry.entry_key == key), None)


def invoice_faults(session: Session, keys: KnownKeys) -> Iterator[str]:
    """Of every invoice, with its payments, its credit notes and its receipt."""
    last = ""
    while batch := _invoices_after(session, last):
        for papers in _papers_of(session, batch):
            name = f"invoice {papers.invoice.id}"
            for found in (_status_faults, _entry_faults, _account_faults, _time_faults):
                yield from (f"{name}: {fault}" for fault in found(papers))
            for receipt in papers.receipts:
                opening = papers.entry(opening_key(papers.invoice))
                found_in = receipt_faults(session, keys, papers.invoice, receipt, opening)
                yield from (f"receipt {receipt.id}: {fault}" for fault in found_in)
        last = batch[-1].id


def _invoices_after(session: Session, last: str) -> Sequence[InvoiceRow]:
    rows = select(InvoiceRow).where(InvoiceRow.id > last).order_by(InvoiceRow.id)
    return session.scalars(rows.limit(_BATCH)).all()


def _papers_of(session: Session, invoices: Sequence[InvoiceRow]) -> list[_Papers]:
    ids = [invoice.id for invoice in invoices]

    def by_invoice(table: Any, invoice_id: InstrumentedAttribute[str]) -> dict[str, list[Any]]:
        found = defaultdict(list)
        for row in session.scalars(select(table).where(invoice_id.in_(ids))):
            found[row.invoice_id].append(row)
        return found

    entries = by_invoice(LedgerEntryRow, LedgerEntryRow.invoice_id)
    postings = by_invoice(PostingRow, PostingRow.invoice_id)
    payments = by_invoice(InvoicePaymentRow, InvoicePaymentRow.invoice_id)
    notes = by_invoice(CreditNoteRow, CreditNoteRow.invoice_id)
    receipts = by_invoice(ReceiptRow, ReceiptRow.invoice_id)
    return [
        _Papers(row, *(found[row.id] for found in (entries, postings, payments, notes, receipts)))
        for row in invoices
    ]


def _status_faults(papers: _Papers) -> Iterator[str]:
    invoice, balance = papers.invoice, papers.balance
    status = invoice.status
    if status not in ("draft", "open", "paid", "void", "uncollectible"):
        yield f"there is no status {status!r}"
    if papers.was_opened == (status == "draft") and status != "void":
        yield f"it is {status}, and its number is {invoice.number}"
    if papers.was_opened != (invoice.opened_at is not None):
        yield f"its number is {invoice.number}, and it was opened at {invoice.opened_at}"
    if len(papers.receipts) != papers.was_opened:
        yield f"it has {len(papers.receipts)} receipts, and its number is {invoice.number}"
    if (status in ("draft", "open")) != (invoice.ended_at is None):
        yield f"it is {status}, and ended at {invoice.ended_at}"
    if status in ("open", "uncollectible", "paid") and (status == "paid") != balance.is_settled:
        yield f"it is {status}, and {balance.outstanding} of it are outstanding"


def _entry_faults(papers: _Papers) -> Iterator[str]:
    """Every deed has its entry, and every entry its deed."""
    found = {entry.entry_key for entry in papers.entries}
    expected = _expected_keys(papers)
    # Whether a paid invoice was uncollectible before is for its entries to say, not its status.
    if papers.invoice.status == "paid":
        found.discard(lifecycle.write_off_key(papers.invoice))
    for key in sorted(expected - found):
        yield f"the ledger lacks its entry {key}"
    for key in sorted(found - expected):
        yield f"the ledger entry {key} is of nothing that became of it"


def _expected_keys(papers: _Papers) -> set[str]:
    invoice = papers.invoice
    keys = {lifecycle.payment_key(payment) for payment in papers.payments}
    keys |= {lifecycle.credit_note_key(note) for note in papers.notes}
    if papers.was_opened and invoice.amount_micro_units:
        keys.add(opening_key(invoice))
    if papers.was_opened and invoice.status == "void":
        keys.add(lifecycle.void_key(invoice))
    if invoice.status == "uncollectible":
        keys.add(lifecycle.write_off_key(invoice))
    return keys


def _account_faults(papers: _Papers) -> Iterator[str]:
    posted = Counter[str]()
    for posting in papers.postings:
        posted[posting.account] += posting.amount_micro_units
        if posting.currency != papers.invoice.currency:
            yield f"posting {posting.id} is in {posting.currency}, not {papers.invoice.currency}"
    expected = _expected_accounts(papers)
    for account in sorted(posted.keys() | expected):
        if posted[account] != expected.get(account, 0):
            yield (
                f"its postings to {account} sum to {posted[account]}, "
                f"not to {expected.get(account, 0)}"
            )


def _expected_accounts(papers: _Papers) -> dict[str, int]:
    """By account, in micro-units; all sum to 0."""
    invoice, balance = papers.invoice, papers.balance
    if not papers.was_opened:
        return {}
    outstanding = 0 if invoice.status == "void" else balance.outstanding
    uncollectible = invoice.status == "uncollectible"
    return {
        receivable(invoice.group_id): 0 if uncollectible else outstanding,
        BAD_DEBT: outstanding if uncollectible else 0,
        CASH: balance.paid,
        REVENUE: -(outstanding + balance.paid),
    }


def _time_faults(papers: _Papers) -> Iterator[str]:
    invoice = papers.invoice
    opening = papers.entry(opening_key(invoice))
    if opening is not None and opening.created_at != invoice.opened_at:
        yield f"it was opened at {invoice.opened_at}, and posted at {opening.created_at}"
    expected = _ended_at(papers)
    if papers.was_opened and invoice.ended_at != expected:
        yield f"it ended at {invoice.ended_at}, not at {expected} as the ledger has it"


def _ended_at(papers: _Papers) -> datetime | None:
    invoice = papers.invoice
    if invoice.status == "paid":
        return _paid_at(papers)
    ends = {
        "void": papers.entry(lifecycle.void_key(invoice)),
        "uncollectible": papers.entry(lifecycle.write_off_key(invoice)),
    }
    entry = ends.get(invoice.status)
    return entry.created_at if entry is not None else None


def _paid_at(papers: _Papers) -> datetime | None:
    """When the first payment or credit note left nothing due."""
    amounts = {lifecycle.payment_key(row): row.amount_micro_units for row in papers.payments}
    amounts |= {lifecycle.credit_note_key(row): row.amount_micro_units for row in papers.notes}
    balance = Balance(papers.invoice.amount_micro_units, 0, 0)
    if balance.is_settled:
        return papers.invoice.opened_at
    for entry in sorted(papers.entries, key=lambda entry: entry.sequence):
        paid = balance.paid + amounts.get(entry.entry_key, 0)
        balance = Balance(balance.amount, 0, paid)
        if balance.is_settled:
            return entry.created_at
    return None
