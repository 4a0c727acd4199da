"""Faults of receipts: digest, signature, and what they say of their invoice and of the ledger."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.ledger import ReceiptBody, ReceiptBodyVersion1
from service.ledger.faults.signatures import KnownKeys
from service.tables import InvoiceRow, LedgerEntryRow, ReceiptRow
from workers.artifacts import canonical_json, sha256_of

_BODY: TypeAdapter[ReceiptBody | ReceiptBodyVersion1] = TypeAdapter(
    ReceiptBody | ReceiptBodyVersion1
)


def receipt_faults(
    session: Session,
    keys: KnownKeys,
    invoice: InvoiceRow,
    row: ReceiptRow,
    opening: LedgerEntryRow | None,
) -> Iterator[str]:
    """`opening` is the ledger's entry of the invoice, None where it amounts to 0."""
    if not _digest_holds(row):
        yield "its body_digest is not that of its body"
    if row.created_at != invoice.opened_at:
        yield f"it was made at {row.created_at}, but its invoice opened at {invoice.opened_at}"
    if row.group_id != invoice.group_id:
        yield f"it is of {row.group_id}, but its invoice is of {invoice.group_id}"
    try:
        body = _BODY.validate_python(row.body)
    except ValidationError:
        yield "its body can't be read"
        return
    yield from _invoice_faults(body, invoice)
    if isinstance(body, ReceiptBody):
        yield from _signed_faults(session, keys, body, row, opening)
    elif row.signature is not None or row.signing_key_id is not None:
        yield "its body is older than signatures, but it has one"


def _digest_holds(row: ReceiptRow) -> bool:
    try:
        return sha256_of(canonical_json(row.body)) == row.body_digest
    except ValueError:
        return False


def _invoice_faults(body: ReceiptBody | ReceiptBodyVersion1, invoice: InvoiceRow) -> Iterator[str]:
    expected: dict[str, Any] = {
        "invoice_number": invoice.number,
        "round_id": invoice.round_id,
        "group_id": invoice.group_id,
        "amount_micro_units": invoice.amount_micro_units,
        "currency": invoice.currency,
    }
    for name, value in expected.items():
        if getattr(body, name) != value:
            yield f"its {name} is {getattr(body, name)}, but that of its invoice {value}"


def _signed_faults(
    session: Session,
    keys: KnownKeys,
    body: ReceiptBody,
    row: ReceiptRow,
    opening: LedgerEntryRow | None,
) -> Iterator[str]:
    fault = keys.fault(row.body, row.signing_key_id, row.signature)
    if fault is not None:
        yield fault
    if body.receipt_id != row.id:
        yield f"its body is that of {body.receipt_id}"
    if body.invoice_id != row.invoice_id:
        yield f"its body names {body.invoice_id}, but it is of {row.invoice_id}"
    if not timedelta(0) <= row.created_at - body.issued_at < timedelta(milliseconds=1):
        yield f"it was made at {row.created_at}, but says {body.issued_at}"
    yield from _head_faults(session, body, opening)


def _head_faults(
    session: Session, body: ReceiptBody, opening: LedgerEntryRow | None
) -> Iterator[str]:
    head = body.ledger_head
    if head is None:
        if body.amount_micro_units:
            yield "it names no ledger_head"
        return
    found = session.scalar(
        select(LedgerEntryRow.hash).where(LedgerEntryRow.sequence == head.sequence)
    )
    if found != head.hash:
        yield f"its ledger_head {head.sequence} is not in the ledger"
    elif body.amount_micro_units and (opening is None or opening.sequence != head.sequence):
        yield f"its ledger_head {head.sequence} is not its invoice's entry"
