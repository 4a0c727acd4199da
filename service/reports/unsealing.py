"""The operator's way to the reports of a closed round: with a reason, and for all to know."""

from api_schemas.errors import Conflict
from api_schemas.ids import RoundId
from api_schemas.reports import UnsealedReports, UnsealRequest
from service import audit
from service.auth import Operator
from service.bodies import StrictRoute
from service.dependencies import State, WriteSession
from service.errors import problem_responses
from service.reports import repository
from service.rounds import repository as rounds
from service.routing import Router

router = Router(prefix="/rounds/{round_id}/reports", tags=["reports"], route_class=StrictRoute)


@router.post(
    "/unseal", summary="Look at a closed round's reports", responses=problem_responses(404, 409)
)
def unseal_reports(
    round_id: RoundId,
    body: UnsealRequest,
    principal: Operator,
    state: State,
    session: WriteSession,
) -> UnsealedReports:
    """All reports of a round, once it has closed. The act and its reason go to the audit log, and
    every group sees in its own report when it was first done. Operator only."""
    row = rounds.lock_round(session, principal, round_id)
    if row.closed_at is None:
        raise Conflict(
            f"round {round_id} is {row.state} and was not closed: its reports stay sealed",
            code="reports_sealed",
        )
    audit.record(session, principal, repository.UNSEALED, round_id, body.reason)
    session.flush()
    return UnsealedReports(
        round_id=round_id,
        reason=body.reason,
        reports=repository.all_reports(session, state.vault, round_id),
    )
