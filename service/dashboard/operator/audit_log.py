"""The audit log: who did what, newest first."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.audit_log import AuditLogEntry
from api_schemas.base import ListPage
from api_schemas.errors import Problem
from service.dashboard.api import Refused, SessionApi
from service.dashboard.pages import render
from service.dashboard.sessions import PATH, SignedIn

router = APIRouter()
_FILTERS = ("action", "subject")


@router.get(f"{PATH}/audit-log")
async def list_audit_log(
    request: Request,
    session: SignedIn,
    api: SessionApi,
    action: str = "",
    subject: str = "",
    after: str | None = None,
) -> Response:
    """A filter that the API refuses is shown again with the reason, above nothing."""
    values = {"action": action.strip(), "subject": subject.strip()}
    asked = {name: value or None for name, value in values.items()}
    problem: Problem | None = None
    found = ListPage[AuditLogEntry](data=[], has_more=False, first_id=None, last_id=None)
    try:
        found = await api.get(
            ListPage[AuditLogEntry], "/v1/audit-log", after=after, limit=50, **asked
        )
    except Refused as refused:
        if refused.problem.param not in _FILTERS:
            raise
        problem = refused.problem
    return render(
        request,
        "operator/audit_log.html",
        session,
        200 if problem is None else problem.status,
        entries=found,
        values=values,
        problem=problem,
    )
