"""What a group pays and why: its invoices, and each one's receipt in words and pictures."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.ids import ReceiptId
from api_schemas.ledger import (
    CreditNote,
    Invoice,
    Payment,
    Receipt,
    ReceiptBody,
    ReceiptBodyVersion1,
)
from api_schemas.outcomes import GroupOutcome, Outcome
from api_schemas.rounds import Round
from service.dashboard.api import Api, SessionApi
from service.dashboard.forwarding import Forwarded
from service.dashboard.pages import render
from service.dashboard.round_names import round_names
from service.dashboard.sessions import PATH, SignedIn

router = APIRouter(prefix=f"{PATH}/receipts")
_MOST = 100


@dataclass(frozen=True)
class Explained:
    """The figures of a receipt as its page tells them, in agent·reward units.

    difference = others' welfare without the group − with it; payment = difference + surcharge.
    """

    worth: float
    difference: float
    surcharge: float
    payment: float
    utility: float


@router.get("")
async def list_receipts(
    request: Request, session: SignedIn, api: SessionApi, after: str | None = None
) -> Response:
    """Every invoice that a group sees has its receipt, so one list does for both."""
    invoices = await api.get(ListPage[Invoice], "/v1/invoices", after=after, limit=25)
    return render(
        request,
        "group/receipts.html",
        session,
        invoices=invoices,
        rounds=await round_names(api, {invoice.round_id for invoice in invoices.data}),
    )


@router.get("/{receipt_id}")
async def show_receipt(
    request: Request, session: SignedIn, api: SessionApi, receipt_id: ReceiptId
) -> Response:
    receipt = await api.get(Receipt, f"/v1/receipts/{receipt_id}")
    invoice = await api.get(Invoice, f"/v1/invoices/{receipt.invoice_id}")
    deeds = f"/v1/invoices/{receipt.invoice_id}"
    outcome = None if session.is_operator else await _outcome(api, invoice)
    return render(
        request,
        "group/receipt.html",
        session,
        receipt=receipt,
        body=receipt.body,
        explained=explain(receipt.body),
        is_signed_body=isinstance(receipt.body, ReceiptBody),
        invoice=invoice,
        round=await api.get(Round, f"/v1/rounds/{invoice.round_id}"),
        own=outcome and _own_line(outcome, invoice),
        certificate=outcome and outcome.certificate,
        payments=await api.get(ListPage[Payment], f"{deeds}/payments", limit=_MOST),
        credit_notes=await api.get(ListPage[CreditNote], f"{deeds}/credit-notes", limit=_MOST),
    )


@router.get("/{receipt_id}/receipt.json")
async def download_receipt(
    request: Request, session: SignedIn, api: SessionApi, receipt_id: ReceiptId
) -> Response:
    """Byte for byte as the API gives it, which is what was signed."""
    await api.get(Receipt, f"/v1/receipts/{receipt_id}")
    path = f"/v1/receipts/{receipt_id}"
    return Forwarded(request, session, path, filename=f"{receipt_id}.json")


def explain(body: ReceiptBody | ReceiptBodyVersion1) -> Explained:
    """Receipts of version 1 do not tell the difference; it is the payment less the surcharge."""
    surcharge = body.surcharge or 0.0
    difference = body.payment - surcharge
    if isinstance(body, ReceiptBody):
        difference = body.others_welfare_difference
    return Explained(
        worth=body.size * body.valuation,
        difference=difference,
        surcharge=surcharge,
        payment=body.payment,
        utility=body.utility,
    )


async def _outcome(api: Api, invoice: Invoice) -> Outcome:
    """As its group sees it; the operator's has figures that the group's lacks."""
    return await api.get(Outcome, f"/v1/rounds/{invoice.round_id}/outcome")


def _own_line(outcome: Outcome, invoice: Invoice) -> GroupOutcome:
    """The receipt tells the valuation after the round alone, not the one before."""
    return next(line for line in outcome.groups if line.group_id == invoice.group_id)
