"""Routes of audits."""

from fastapi import Request
from starlette.responses import Response

from api_schemas.audits import Audit, AuditCreate
from api_schemas.base import ListPage
from api_schemas.ids import AuditId, RoundId
from service import audit
from service.audits import repository
from service.audits.requesting import request_audit
from service.auth import Operator
from service.bodies import StrictRoute
from service.dependencies import ReadSession, State, WriteSession
from service.downloads import DRAWING_RESPONSES, drawing_response
from service.errors import problem_responses
from service.idempotency import Idempotent
from service.pages import Page
from service.routing import Router

router = Router(tags=["audits"], route_class=StrictRoute)


@router.post(
    "/rounds/{round_id}/audits",
    status_code=201,
    summary="Audit a round",
    responses=problem_responses(404, 409),
)
def create_audit(
    round_id: RoundId, principal: Operator, body: AuditCreate, idempotent: Idempotent
) -> Audit:
    """Queues a job that plays a settled round again with false reports, and tells what each would
    have gained its group. The round stays as it is; groups learn from its certificate how many
    audits there were, and whether any lie gained. Operator only."""

    def work() -> Audit:
        made = request_audit(idempotent.session, principal, round_id, body)
        audit.record(idempotent.session, principal, "audit.created", made.id)
        return made

    return idempotent.run(body.model_dump(mode="json"), Audit, work)


@router.get(
    "/rounds/{round_id}/audits",
    summary="List a round's audits",
    responses=problem_responses(404),
)
def list_audits(
    round_id: RoundId, principal: Operator, session: ReadSession, page: Page
) -> ListPage[Audit]:
    """The audits of a round, newest first, without their results. Operator only."""
    return repository.list_audits(session, principal, round_id, page)


@router.get("/audits/{audit_id}", summary="Show an audit", responses=problem_responses(404))
def get_audit(audit_id: AuditId, principal: Operator, session: WriteSession) -> Audit:
    """An audit and its result: every replay, and the largest gains with and without payments. The
    audit log tells that it was read. Operator only."""
    found = repository.get_audit(session, audit_id)
    audit.record(session, principal, "audit.read", audit_id)
    return found


@router.get(
    "/audits/{audit_id}/plot.svg",
    summary="Draw an audit",
    response_class=Response,
    responses=DRAWING_RESPONSES | problem_responses(404, 409, 416),
)
def get_audit_plot(
    audit_id: AuditId, request: Request, principal: Operator, state: State
) -> Response:
    """Utility against how far a report departs from the truth, with and without payments, as SVG; a
    Conflict until the audit's job has succeeded. The audit log tells that it was read.
    Operator only."""
    with state.database.write() as session:
        digest = repository.plot_digest(session, audit_id)
        audit.record(session, principal, "audit.read", audit_id)
    return drawing_response(request, state.artifacts, digest, f"{audit_id}.svg")
