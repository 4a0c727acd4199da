"""Routes of invoices and receipts."""

from fastapi import APIRouter

from api_schemas.base import ListPage
from api_schemas.ids import InvoiceId, ReceiptId
from api_schemas.ledger import Invoice, Receipt
from service.auth import CurrentPrincipal
from service.dependencies import ReadSession
from service.errors import problem_responses
from service.ledger import repository
from service.pages import Page

router = APIRouter(tags=["ledger"])


@router.get("/invoices", summary="List the invoices")
def list_invoices(
    principal: CurrentPrincipal, session: ReadSession, page: Page
) -> ListPage[Invoice]:
    """Invoices, newest first: the operator sees all, a group its own."""
    return repository.list_invoices(session, principal, page)


@router.get("/invoices/{invoice_id}", summary="Show an invoice", responses=problem_responses(404))
def get_invoice(
    invoice_id: InvoiceId, principal: CurrentPrincipal, session: ReadSession
) -> Invoice:
    """One invoice; a negative amount is credited to the group, an amount of 0 is paid at once."""
    return repository.get_invoice(session, principal, invoice_id)


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
    """How an invoice's amount came about, and the digests of what it was computed from."""
    return repository.get_receipt(session, principal, receipt_id)
