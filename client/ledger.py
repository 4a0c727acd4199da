"""Invoices with their payments and credit notes, receipts, and the keys that sign them."""

from api_schemas.base import ListPage
from api_schemas.ledger import (
    CreditNote,
    CreditNoteCreate,
    Invoice,
    Payment,
    PaymentCreate,
    Receipt,
)
from api_schemas.signing import SigningKey
from client.modes import Method, Mode, Resource
from client.pages import Listing


class Invoices(Resource[Mode]):
    """What changes an invoice is the operator's to do. A POST that is sent again is done once; to
    be sure of that over restarts too, give an `idempotency_key`."""

    @Method
    async def get(self, invoice_id: str) -> Invoice:
        return await self._connection.get(Invoice, f"/v1/invoices/{invoice_id}")

    def list(self) -> Listing[Mode, Invoice]:
        return Listing(self._connection, "/v1/invoices", ListPage[Invoice])

    @Method
    async def open(self, invoice_id: str, *, idempotency_key: str | None = None) -> Invoice:
        """Give a draft its number and its receipt, and show it to its group."""
        return await self._do(invoice_id, "open", idempotency_key)

    @Method
    async def void(self, invoice_id: str, *, idempotency_key: str | None = None) -> Invoice:
        """Ask for nothing any more; what was paid stays paid."""
        return await self._do(invoice_id, "void", idempotency_key)

    @Method
    async def write_off(self, invoice_id: str, *, idempotency_key: str | None = None) -> Invoice:
        """Make what is due bad debt; it may still be paid."""
        return await self._do(invoice_id, "uncollectible", idempotency_key)

    @Method
    async def pay(
        self,
        invoice_id: str,
        amount_micro_units: int,
        reference: str,
        *,
        idempotency_key: str | None = None,
    ) -> Payment:
        """Record money that moved outside of the service; negative if it went to the group."""
        body = PaymentCreate(amount_micro_units=amount_micro_units, reference=reference)
        path = f"/v1/invoices/{invoice_id}/payments"
        return await self._connection.create(Payment, path, body, idempotency_key)

    def payments(self, invoice_id: str) -> Listing[Mode, Payment]:
        path = f"/v1/invoices/{invoice_id}/payments"
        return Listing(self._connection, path, ListPage[Payment])

    @Method
    async def credit(
        self,
        invoice_id: str,
        amount_micro_units: int,
        reason: str,
        *,
        idempotency_key: str | None = None,
    ) -> CreditNote:
        """Take back a part of the invoice; the group reads the reason."""
        body = CreditNoteCreate(amount_micro_units=amount_micro_units, reason=reason)
        path = f"/v1/invoices/{invoice_id}/credit-notes"
        return await self._connection.create(CreditNote, path, body, idempotency_key)

    def credit_notes(self, invoice_id: str) -> Listing[Mode, CreditNote]:
        path = f"/v1/invoices/{invoice_id}/credit-notes"
        return Listing(self._connection, path, ListPage[CreditNote])

    async def _do(self, invoice_id: str, deed: str, idempotency_key: str | None) -> Invoice:
        path = f"/v1/invoices/{invoice_id}/{deed}"
        return await self._connection.create(Invoice, path, idempotency_key=idempotency_key)


class Receipts(Resource[Mode]):
    @Method
    async def get(self, receipt_id: str) -> Receipt:
        return await self._connection.get(Receipt, f"/v1/receipts/{receipt_id}")

    def list(self) -> Listing[Mode, Receipt]:
        return Listing(self._connection, "/v1/receipts", ListPage[Receipt])


class SigningKeys(Resource[Mode]):
    def list(self) -> Listing[Mode, SigningKey]:
        """The public keys that receipts are signed with, retired ones too. Keep a copy."""
        return Listing(self._connection, "/v1/keys/signing", ListPage[SigningKey])

    @Method
    async def rotate(self, *, idempotency_key: str | None = None) -> SigningKey:
        """Retire the current key and make the next. Operator only."""
        path = "/v1/keys/signing/rotate"
        return await self._connection.create(SigningKey, path, idempotency_key=idempotency_key)
