"""SQL of invoices and receipts. The operator sees all, a group its own."""

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.ledger import Invoice, Receipt
from service.auth import Principal
from service.pages import PageQuery, fetch_page, fetch_rows, to_page
from service.tables import InvoiceRow, ReceiptRow

_NUMBERING_LOCK = 0x7474_696E_766F  # "ttinvo": any constant that no other lock of ours uses


def lock_last_number(session: Session) -> int:
    """The last invoice number, 0 at first; nobody else numbers until the transaction ends.

    A sequence would leave a gap at each rollback. On SQLite the write transaction is the lock.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_NUMBERING_LOCK)))
    return session.scalar(select(func.max(InvoiceRow.number))) or 0


def list_invoices(session: Session, principal: Principal, page: PageQuery) -> ListPage[Invoice]:
    rows, has_more = fetch_rows(
        session,
        _own_invoices(principal),
        page,
        id_column=InvoiceRow.id,
        order_by=InvoiceRow.number,
    )
    return to_page(_to_invoices(session, rows), has_more)


def get_invoice(session: Session, principal: Principal, invoice_id: str) -> Invoice:
    row = session.scalar(_own_invoices(principal).where(InvoiceRow.id == invoice_id))
    if row is None:
        raise NotFound(f"there is no invoice {invoice_id}")
    return _to_invoices(session, [row])[0]


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
    return invoices.where(InvoiceRow.group_id == principal.owner_id)


def _own_receipts(principal: Principal) -> Select[ReceiptRow]:
    receipts = select(ReceiptRow)
    if principal.is_operator:
        return receipts
    return receipts.where(ReceiptRow.group_id == principal.owner_id)


def _to_invoices(session: Session, rows: list[InvoiceRow]) -> list[Invoice]:
    receipt_ids = dict(
        session.execute(
            select(ReceiptRow.invoice_id, ReceiptRow.id).where(
                ReceiptRow.invoice_id.in_([row.id for row in rows])
            )
        ).all()
    )
    return [_invoice(row, receipt_ids[row.id]) for row in rows]


def _invoice(row: InvoiceRow, receipt_id: str) -> Invoice:
    return Invoice.model_validate(
        {
            "id": row.id,
            "number": row.number,
            "round_id": row.round_id,
            "group_id": row.group_id,
            "receipt_id": receipt_id,
            "status": row.status,
            "amount_micro_units": row.amount_micro_units,
            "currency": row.currency,
            "created_at": row.created_at,
        }
    )


def _receipt(row: ReceiptRow) -> Receipt:
    return Receipt.model_validate(
        {
            "id": row.id,
            "invoice_id": row.invoice_id,
            "body": row.body,
            "body_digest": row.body_digest,
            "created_at": row.created_at,
        }
    )
