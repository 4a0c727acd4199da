"""A group's own report: the form to submit, replace, preview or withdraw it, and what became of it.

Forms are worked on here, row by row; nothing is stored until the API takes the report.
"""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput
from api_schemas.ids import RoundId
from api_schemas.previews import Preview
from api_schemas.reports import Report, ReportDeleted
from api_schemas.reward_models import RewardModel
from api_schemas.rounds import Round
from service.dashboard.api import Api, Refused, SessionApi
from service.dashboard.forms import new_idempotency_key, texts
from service.dashboard.forwarding import Forwarded
from service.dashboard.group.report_form import (
    FEATURES,
    ReportForm,
    form_of,
    new_form,
    read_form,
)
from service.dashboard.pages import go_to, render
from service.dashboard.sessions import PATH, CheckedForm, Session, SignedIn

router = APIRouter(prefix=f"{PATH}/rounds/{{round_id}}/report")


@dataclass(frozen=True)
class Complaint:
    """What is wrong with the form, beside the field with this id; None: with all of it."""

    message: str
    field: str | None = None


@router.get("")
async def show_report(
    request: Request, session: SignedIn, api: SessionApi, round_id: RoundId
) -> Response:
    report = await find_report(api, round_id)
    form = new_form() if report is None else form_of(report)
    return await _page(request, session, api, round_id, form, report=report)


@router.post("")
async def work_on_report(
    request: Request,
    session: SignedIn,
    api: SessionApi,
    round_id: RoundId,
    fields: CheckedForm,
) -> Response:
    """`action` is the button: rows come and go in the form alone, `submit` and `preview` ask."""
    action, _, detail = str(fields.get("action", "submit")).partition(":")
    form = new_form()
    preview: Preview | None = None
    try:
        form = read_form(texts(fields))
        if action == "submit":
            await api.put(Report, f"/v1/rounds/{round_id}/report", form.body())
            return go_to(f"{PATH}/rounds/{round_id}/report")
        if action == "preview":
            preview = await _ask_for_preview(api, round_id, form, fields)
        else:
            _change_rows(form, action, detail)
    except (InvalidInput, Refused) as error:
        complaint = _complaint(form, error)
        status = error.problem.status if isinstance(error, Refused) else error.status
        return await _page(
            request, session, api, round_id, form, complaint=complaint, status=status
        )
    return await _page(request, session, api, round_id, form, preview=preview)


@router.post("/withdraw")
async def withdraw_report(api: SessionApi, round_id: RoundId, fields: CheckedForm) -> Response:
    await api.delete(ReportDeleted, f"/v1/rounds/{round_id}/report")
    return go_to(f"{PATH}/rounds/{round_id}/report")


@router.get("/report.json")
async def download_report(
    request: Request, session: SignedIn, api: SessionApi, round_id: RoundId
) -> Response:
    """With its salt, which a check of the receipt needs."""
    await api.get(Report, f"/v1/rounds/{round_id}/report")
    path = f"/v1/rounds/{round_id}/report"
    return Forwarded(request, session, path, filename=f"{round_id}-report.json")


async def find_report(api: Api, round_id: str) -> Report | None:
    """None where the group has not reported."""
    try:
        return await api.get(Report, f"/v1/rounds/{round_id}/report")
    except Refused as refused:
        if refused.problem.status != 404:
            raise
        return None


async def _page(
    request: Request,
    session: Session,
    api: Api,
    round_id: str,
    form: ReportForm,
    *,
    status: int = 200,
    report: Report | None = None,
    **context: Any,
) -> Response:
    """`report` is asked for here unless the caller has it already."""
    round_ = await api.get(Round, f"/v1/rounds/{round_id}")
    own = await api.get(ListPage[RewardModel], "/v1/reward-models", limit=100)
    return render(
        request,
        "group/report.html",
        session,
        status,
        round=round_,
        report=report or await find_report(api, round_id),
        form=form,
        features=FEATURES,
        reward_models=[each for each in own.data if each.status == "succeeded"],
        idempotency_key=new_idempotency_key(),
        **{"complaint": None, "preview": None, **context},
    )


def _change_rows(form: ReportForm, action: str, detail: str) -> None:
    if action == "add" and detail in FEATURES:
        form.add(detail)
    elif action == "remove" and detail.isdecimal():
        form.remove(int(detail))
    else:
        raise InvalidInput(f"the form has no button {action!r}")


async def _ask_for_preview(
    api: Api, round_id: str, form: ReportForm, fields: CheckedForm
) -> Preview:
    key = texts(fields).get("idempotency_key") or new_idempotency_key()
    return await api.post(Preview, f"/v1/rounds/{round_id}/report/preview", form.body(), key)


def _complaint(form: ReportForm, error: InvalidInput | Refused) -> Complaint:
    if isinstance(error, InvalidInput):
        return Complaint(error.message, form.field_of(error.param))
    return Complaint(error.problem.detail, form.field_of(error.problem.param))
