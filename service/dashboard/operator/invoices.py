"""Invoices, and what the operator does with one: payments, credit notes, void, bad debt."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.errors import Problem
from api_schemas.groups import Group
from api_schemas.ledger import CreditNote, Invoice, Payment
from api_schemas.rounds import Round
from service.dashboard.api import Api, Refused, SessionApi
from service.dashboard.forms import (
    FieldProblem,
    micro_units_of,
    new_idempotency_key,
    next_idempotency_key,
    texts,
)
from service.dashboard.operator.names import group_names
from service.dashboard.pages import go_to, money, render
from service.dashboard.sessions import PATH, CheckedForm, Session, SignedIn

router = APIRouter()
_AMOUNT = "amount_micro_units"
_CREDIT = "credit_micro_units"
"""The field of a credit note's amount: a page has each name once."""


@router.get(f"{PATH}/invoices")
async def list_invoices(
    request: Request,
    session: SignedIn,
    api: SessionApi,
    after: str | None = None,
    round_id: str | None = None,
) -> Response:
    found = await api.get(
        ListPage[Invoice], "/v1/invoices", after=after, round_id=round_id, limit=25
    )
    of_round = await api.get(Round, f"/v1/rounds/{round_id}") if round_id else None
    names = await group_names(api) if session.is_operator else {}
    return render(
        request, "operator/invoices.html", session, invoices=found, names=names, round=of_round
    )


@router.get(f"{PATH}/invoices/{{invoice_id}}")
async def show_invoice(
    request: Request, session: SignedIn, api: SessionApi, invoice_id: str
) -> Response:
    return await _page(request, session, api, invoice_id)


@router.post(f"{PATH}/invoices/{{invoice_id}}/payments")
async def record_payment(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm, invoice_id: str
) -> Response:
    values = texts(form)
    try:
        body = {
            _AMOUNT: micro_units_of(values, _AMOUNT),
            "reference": values.get("reference", "").strip(),
        }
        key = values.get("idempotency_key")
        await api.post(Payment, f"/v1/invoices/{invoice_id}/payments", body, key)
    except (Refused, FieldProblem) as refused:
        return await _page(request, session, api, invoice_id, "payment", values, refused.problem)
    return go_to(f"{PATH}/invoices/{invoice_id}")


@router.post(f"{PATH}/invoices/{{invoice_id}}/credit-notes")
async def issue_credit_note(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm, invoice_id: str
) -> Response:
    values = texts(form)
    try:
        body = {
            _AMOUNT: micro_units_of(values, _CREDIT),
            "reason": values.get("reason", "").strip(),
        }
        key = values.get("idempotency_key")
        await api.post(CreditNote, f"/v1/invoices/{invoice_id}/credit-notes", body, key)
    except (Refused, FieldProblem) as refused:
        problem = refused.problem
        if problem.param == _AMOUNT:
            problem = problem.model_copy(update={"param": _CREDIT})
        return await _page(request, session, api, invoice_id, "credit", values, problem)
    return go_to(f"{PATH}/invoices/{invoice_id}")


@router.post(f"{PATH}/invoices/{{invoice_id}}/{{deed}}")
async def do(
    request: Request,
    session: SignedIn,
    api: SessionApi,
    form: CheckedForm,
    invoice_id: str,
    deed: Literal["open", "void", "uncollectible"],
) -> Response:
    key = texts(form).get("idempotency_key")
    try:
        await api.post(Invoice, f"/v1/invoices/{invoice_id}/{deed}", None, key)
    except Refused as refused:
        return await _page(request, session, api, invoice_id, "deed", {}, refused.problem)
    return go_to(f"{PATH}/invoices/{invoice_id}")


async def _page(
    request: Request,
    session: Session,
    api: Api,
    invoice_id: str,
    of_form: Literal["payment", "credit", "deed", ""] = "",
    values: Mapping[str, str] | None = None,
    problem: Problem | None = None,
) -> Response:
    """`values` and `problem` are those of the form that was refused."""
    invoice = await api.get(Invoice, f"/v1/invoices/{invoice_id}")
    path = f"/v1/invoices/{invoice_id}"
    defaults = {
        "payment": {_AMOUNT: _plain(invoice.amount_due_micro_units), "reference": ""},
        "credit": {_CREDIT: "", "reason": ""},
    }
    filled = {
        name: {**fields, "idempotency_key": new_idempotency_key()}
        for name, fields in defaults.items()
    }
    if of_form in filled and values is not None and problem is not None:
        key = next_idempotency_key(values, problem)
        filled[of_form] |= {**values, "idempotency_key": key}
    return render(
        request,
        "operator/invoice.html",
        session,
        HTTPStatus.OK if problem is None else problem.status,
        invoice=invoice,
        group=await api.get(Group, f"/v1/groups/{invoice.group_id}"),
        round=await api.get(Round, f"/v1/rounds/{invoice.round_id}"),
        payments=(await api.get(ListPage[Payment], f"{path}/payments", limit=100)).data,
        credit_notes=(await api.get(ListPage[CreditNote], f"{path}/credit-notes", limit=100)).data,
        of_form=of_form,
        filled=filled,
        problem=problem,
        deed_key=new_idempotency_key(),
    )


def _plain(micro_units: int) -> str:
    """An amount as a form takes it back: without a currency and thousands."""
    return money(micro_units).replace(",", "").replace("−", "-")
