"""Incentive audits: a settled round played again with false reports."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.audits import Audit, AuditLine
from api_schemas.errors import Problem
from api_schemas.jobs import Job
from api_schemas.rounds import Round
from service.dashboard.api import Api, Refused, SessionApi
from service.dashboard.forms import new_idempotency_key, next_idempotency_key, number_of, texts
from service.dashboard.operator.access import WritingOperator
from service.dashboard.operator.names import group_names
from service.dashboard.pages import go_to, render
from service.dashboard.sessions import PATH, CheckedForm, Session, SignedIn

router = APIRouter()
_SHOWN = 300
_LISTS = ("alphas", "sharpen_betas", "oppose_betas")
_DEFAULTS = {
    "alphas": "0.25, 0.5, 0.75, 1.25, 1.5, 2, 3, 5",
    "sharpen_betas": "0.25, 0.5, 2, 4, 8",
    "oppose_betas": "0.25, 0.5, 1, 2",
    "spike": "true",
}


@router.get(f"{PATH}/rounds/{{round_id}}/audits/new")
async def show_form(
    request: Request, session: WritingOperator, api: SessionApi, round_id: str
) -> Response:
    return await _form(request, session, api, round_id, _DEFAULTS, new_idempotency_key(), None)


@router.post(f"{PATH}/rounds/{{round_id}}/audits/new")
async def request_audit(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm, round_id: str
) -> Response:
    values = dict.fromkeys(_DEFAULTS, "") | texts(form)
    body: dict[str, object] = {name: _numbers(values[name]) for name in _LISTS}
    body["spike"] = values["spike"] == "true"
    key = values.get("idempotency_key")
    try:
        made = await api.post(Audit, f"/v1/rounds/{round_id}/audits", body, key)
    except Refused as refused:
        problem = refused.problem
        key = next_idempotency_key(values, problem)
        return await _form(request, session, api, round_id, values, key, problem)
    return go_to(f"{PATH}/audits/{made.id}")


@router.get(f"{PATH}/audits/{{audit_id}}")
async def show_audit(
    request: Request, session: SignedIn, api: SessionApi, audit_id: str
) -> Response:
    found = await api.get(Audit, f"/v1/audits/{audit_id}")
    lines = sorted(found.result.misreports, key=_gain, reverse=True) if found.result else []
    return render(
        request,
        "operator/audit.html",
        session,
        audit=found,
        round=await api.get(Round, f"/v1/rounds/{found.round_id}"),
        job=await api.get(Job, f"/v1/jobs/{found.job_id}"),
        names=await group_names(api),
        lines=lines[:_SHOWN],
        left_out=max(0, len(lines) - _SHOWN),
    )


def _gain(line: AuditLine) -> float:
    return line.gain


def _numbers(text: str) -> list[int | float | str]:
    """Between commas; what is no number goes to the API as it is, which says so."""
    return [number_of(part.strip()) for part in text.split(",") if part.strip()]


async def _form(
    request: Request,
    session: Session,
    api: Api,
    round_id: str,
    values: dict[str, str],
    idempotency_key: str,
    problem: Problem | None,
) -> Response:
    if problem and problem.param:  # `alphas[2]` is within the field `alphas`
        problem = problem.model_copy(update={"param": problem.param.split("[")[0]})
    return render(
        request,
        "operator/audit_form.html",
        session,
        HTTPStatus.OK if problem is None else problem.status,
        round=await api.get(Round, f"/v1/rounds/{round_id}"),
        values=values,
        problem=problem,
        known=list(_DEFAULTS),
        idempotency_key=idempotency_key,
    )
