"""Routes of invoices, their payments and credit notes, receipts, and the ledger itself."""

from typing import Annotated

from fastapi import Query

from api_schemas.base import ListPage
from api_schemas.books import Ledger, Posting
from api_schemas.ids import InvoiceId, ReceiptId, RoundId
from api_schemas.ledger import (
    CreditNote,
    CreditNoteCreate,
    Invoice,
    Payment,
    PaymentCreate,
    Receipt,
)
from service.auth import CurrentPrincipal, Operator
from service.bodies import StrictRoute
from service.dependencies import ReadSession
from service.errors import problem_responses
from service.ledger import books, lifecycle, opening, repository
from service.ledger.deeds import Deed
from service.pages import Page
from service.routing import Router

router = Router(tags=["ledger"], route_class=StrictRoute)
_OF_DEEDS = problem_responses(404, 409)

Account = Annotated[
    str | None,
    Query(
        max_length=255,
        pattern=r"^[a-z_]+:[0-9a-z_]+$",
        description="Postings of this account alone, as `operator:revenue`.",
    ),
]


@router.get("/invoices", summary="List the invoices")
def list_invoices(
    principal: CurrentPrincipal,
    session: ReadSession,
    page: Page,
    round_id: Annotated[RoundId | None, Query(description="Those of this round alone.")] = None,
) -> ListPage[Invoice]:
    """Invoices, newest first: the operator sees all, a group its own, but none that was never
    opened."""
    return repository.list_invoices(session, principal, page, round_id)


@router.get("/invoices/{invoice_id}", summary="Show an invoice", responses=problem_responses(404))
def get_invoice(
    invoice_id: InvoiceId, principal: CurrentPrincipal, session: ReadSession
) -> Invoice:
    """One invoice; a negative amount is credited to the group, an amount of 0 is paid at once. The
    operator sees all, a group its own once it is opened."""
    return repository.get_invoice(session, principal, invoice_id)


@router.post("/invoices/{invoice_id}/open", summary="Open an invoice", responses=_OF_DEEDS)
def open_invoice(deed: Deed) -> Invoice:
    """Gives a draft, as a round announced with `invoicing: manual` leaves, its number and its
    receipt, and shows it to its group. Operator only."""

    def work() -> Invoice:
        row = deed.lock_invoice("invoice.opened")
        opening.open_invoice(deed.session, deed.vault, row)
        return repository.to_invoice(deed.session, row)

    return deed.run(None, Invoice, work)


@router.post("/invoices/{invoice_id}/void", summary="Void an invoice", responses=_OF_DEEDS)
def void_invoice(deed: Deed) -> Invoice:
    """Gives a draft or an open invoice up for good: what is still due is reversed in the ledger,
    what was paid stays paid. Operator only."""

    def work() -> Invoice:
        row = deed.lock_invoice("invoice.voided")
        lifecycle.void(deed.session, deed.vault, row)
        return repository.to_invoice(deed.session, row)

    return deed.run(None, Invoice, work)


@router.post(
    "/invoices/{invoice_id}/uncollectible",
    summary="Write an invoice off",
    responses=_OF_DEEDS,
)
def write_off_invoice(deed: Deed) -> Invoice:
    """Makes what is still due on an open invoice bad debt. It stays due, and may still be paid. An
    amount that the group is owed can't be written off. Operator only."""

    def work() -> Invoice:
        row = deed.lock_invoice("invoice.written_off")
        lifecycle.write_off(deed.session, deed.vault, row)
        return repository.to_invoice(deed.session, row)

    return deed.run(None, Invoice, work)


@router.post(
    "/invoices/{invoice_id}/payments",
    status_code=201,
    summary="Record a payment",
    responses=_OF_DEEDS,
)
def create_payment(deed: Deed, body: PaymentCreate) -> Payment:
    """Notes money that moved outside of the service, in part or all that is due: the invoice is
    paid once nothing is. Operator only."""

    def work() -> Payment:
        row = deed.lock_invoice("invoice.payment_recorded")
        made = lifecycle.record_payment(deed.session, deed.vault, row, body)
        return repository.to_payment(made, row)

    return deed.run(body, Payment, work)


@router.get(
    "/invoices/{invoice_id}/payments",
    summary="List the payments of an invoice",
    responses=problem_responses(404),
)
def list_payments(
    invoice_id: InvoiceId, principal: CurrentPrincipal, session: ReadSession, page: Page
) -> ListPage[Payment]:
    """Payments, newest first: the operator sees those of all invoices, a group those of its own."""
    return repository.list_payments(session, principal, invoice_id, page)


@router.post(
    "/invoices/{invoice_id}/credit-notes",
    status_code=201,
    summary="Issue a credit note",
    responses=_OF_DEEDS,
)
def create_credit_note(deed: Deed, body: CreditNoteCreate) -> CreditNote:
    """Takes back a part of an invoice, or all of it: what is due first, then what was paid, which
    is then owed back and leaves an amount due of the other sign. Operator only."""

    def work() -> CreditNote:
        row = deed.lock_invoice("invoice.credited")
        made = lifecycle.add_credit_note(deed.session, deed.vault, row, body)
        return repository.to_credit_note(made, row)

    return deed.run(body, CreditNote, work)


@router.get(
    "/invoices/{invoice_id}/credit-notes",
    summary="List the credit notes of an invoice",
    responses=problem_responses(404),
)
def list_credit_notes(
    invoice_id: InvoiceId, principal: CurrentPrincipal, session: ReadSession, page: Page
) -> ListPage[CreditNote]:
    """Credit notes, newest first: the operator sees those of all invoices, a group those of its
    own."""
    return repository.list_credit_notes(session, principal, invoice_id, page)


@router.get("/receipts", summary="List the receipts")
def list_receipts(
    principal: CurrentPrincipal, session: ReadSession, page: Page
) -> ListPage[Receipt]:
    """Receipts, newest first: the operator sees all, a group its own."""
    return repository.list_receipts(session, principal, page)


@router.get("/receipts/{receipt_id}", summary="Show a receipt", responses=problem_responses(404))
def get_receipt(
    receipt_id: ReceiptId, principal: CurrentPrincipal, session: ReadSession
) -> Receipt:
    """How an invoice's amount came about, the digests of what it was computed from, and the
    service's signature. The operator sees all, a group its own."""
    return repository.get_receipt(session, principal, receipt_id)


@router.get("/ledger", summary="Show the ledger")
def get_ledger(principal: Operator, session: ReadSession) -> Ledger:
    """The balance of every account, and the head of the chain with its signature, checked just now.
    Operator only."""
    return books.get_ledger(session)


@router.get("/ledger/postings", summary="List the postings")
def list_postings(
    principal: Operator, session: ReadSession, page: Page, account: Account = None
) -> ListPage[Posting]:
    """Every amount in the ledger, newest first, with the entry that it is a side of; `account`
    narrows it. Operator only."""
    return books.list_postings(session, page, account)
