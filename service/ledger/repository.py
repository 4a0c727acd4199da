"""SQL of invoices, their payments and credit notes, and receipts. The operator sees all, a group
its own, but no invoice that was never opened."""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.ledger import CreditNote, Invoice, Payment, Receipt
from service.auth import Principal
from service.ledger.balances import Balance, balances
from service.pages import PageQuery, fetch_page, fetch_rows, to_page
from service.tables import CreditNoteRow, InvoicePaymentRow, InvoiceRow, ReceiptRow


def list_invoices(
    session: Session, principal: Principal, page: PageQuery, round_id: str | None = None
) -> ListPage[Invoice]:
    """Of all rounds, or of one."""
    invoices = _own_invoices(principal)
    if round_id is not None:
        invoices = invoices.where(InvoiceRow.round_id == round_id)
    rows, has_more = fetch_rows(session, invoices, page, id_column=InvoiceRow.id)
    return to_page(_to_invoices(session, rows), has_more)


def get_invoice(session: Session, principal: Principal, invoice_id: str) -> Invoice:
    return to_invoice(session, _found(session, principal, invoice_id, lock=False))


def lock_invoice(session: Session, principal: Principal, invoice_id: str) -> InvoiceRow:
    """The row, held until the transaction ends: two payments can't both be the last."""
    return _found(session, principal, invoice_id, lock=True)


def to_invoice(session: Session, row: InvoiceRow) -> Invoice:
    session.flush()
    return _to_invoices(session, [row])[0]


def list_payments(
    session: Session, principal: Principal, invoice_id: str, page: PageQuery
) -> ListPage[Payment]:
    invoice = _found(session, principal, invoice_id, lock=False)
    return fetch_page(
        session,
        select(InvoicePaymentRow).where(InvoicePaymentRow.invoice_id == invoice_id),
        page,
        lambda row: to_payment(row, invoice),
        id_column=InvoicePaymentRow.id,
    )


def list_credit_notes(
    session: Session, principal: Principal, invoice_id: str, page: PageQuery
) -> ListPage[CreditNote]:
    invoice = _found(session, principal, invoice_id, lock=False)
    return fetch_page(
        session,
        select(CreditNoteRow).where(CreditNoteRow.invoice_id == invoice_id),
        page,
        lambda row: to_credit_note(row, invoice),
        id_column=CreditNoteRow.id,
        order_by=CreditNoteRow.number,
    )


def to_payment(row: InvoicePaymentRow, invoice: InvoiceRow) -> Payment:
    return Payment(
        id=row.id,
        invoice_id=row.invoice_id,
        amount_micro_units=row.amount_micro_units,
        currency=invoice.currency,
        reference=row.reference,
        created_at=row.created_at,
    )


def to_credit_note(row: CreditNoteRow, invoice: InvoiceRow) -> CreditNote:
    return CreditNote(
        id=row.id,
        number=row.number,
        invoice_id=row.invoice_id,
        amount_micro_units=row.amount_micro_units,
        currency=invoice.currency,
        reason=row.reason,
        created_at=row.created_at,
    )


def list_receipts(session: Session, principal: Principal, page: PageQuery) -> ListPage[Receipt]:
    return fetch_page(session, _own_receipts(principal), page, _receipt, id_column=ReceiptRow.id)


def get_receipt(session: Session, principal: Principal, receipt_id: str) -> Receipt:
    row = session.scalar(_own_receipts(principal).where(ReceiptRow.id == receipt_id))
    if row is None:
        raise NotFound(f"there is no receipt {receipt_id}")
    return _receipt(row)


def _own_invoices(principal: Principal) -> Select[InvoiceRow]:
    invoices = select(InvoiceRow)
    if principal.is_operator:
        return invoices
    own = InvoiceRow.group_id == principal.owner_id
    return invoices.where(own, InvoiceRow.opened_at.is_not(None))


def _found(session: Session, principal: Principal, invoice_id: str, *, lock: bool) -> InvoiceRow:
    statement = _own_invoices(principal).where(InvoiceRow.id == invoice_id)
    row = session.scalar(statement.with_for_update() if lock else statement)
    if row is None:
        raise NotFound(f"there is no invoice {invoice_id}")
    return row


def _own_receipts(principal: Principal) -> Select[ReceiptRow]:
    receipts = select(ReceiptRow)
    if principal.is_operator:
        return receipts
    return receipts.where(ReceiptRow.group_id == principal.owner_id)


def _to_invoices(session: Session, rows: Sequence[InvoiceRow]) -> list[Invoice]:
    receipt_ids = dict(
        session.execute(
            select(ReceiptRow.invoice_id, ReceiptRow.id).where(
                ReceiptRow.invoice_id.in_([row.id for row in rows])
            )
        ).all()
    )
    by_id = balances(session, rows)
    return [_invoice(row, receipt_ids.get(row.id), by_id[row.id]) for row in rows]


def _invoice(row: InvoiceRow, receipt_id: str | None, balance: Balance) -> Invoice:
    return Invoice.model_validate(
        {
            "id": row.id,
            "number": row.number,
            "round_id": row.round_id,
            "group_id": row.group_id,
            "receipt_id": receipt_id,
            "status": row.status,
            "amount_micro_units": row.amount_micro_units,
            "amount_credited_micro_units": balance.credited,
            "amount_paid_micro_units": balance.paid,
            "amount_due_micro_units": 0 if row.status == "void" else balance.outstanding,
            "currency": row.currency,
            "created_at": row.created_at,
            "opened_at": row.opened_at,
            "ended_at": row.ended_at,
        }
    )


def _receipt(row: ReceiptRow) -> Receipt:
    signed = {"key_id": row.signing_key_id, "signature": row.signature}
    return Receipt.model_validate(
        {
            "id": row.id,
            "invoice_id": row.invoice_id,
            "body": row.body,
            "body_digest": row.body_digest,
            "signature": signed if row.signature else None,
            "created_at": row.created_at,
        }
    )
