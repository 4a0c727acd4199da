"""Routes of a group's own report."""

from fastapi import Depends

from api_schemas.ids import RoundId
from api_schemas.reports import Report, ReportDeleted, ReportPut
from service.auth import GroupMember
from service.bodies import StrictRoute
from service.dependencies import ReadSession, State, WriteSession, take_turn_to_report
from service.errors import problem_responses
from service.reports import repository
from service.reports.sealing import sealed_report
from service.reports.taking import require_open
from service.rounds import repository as rounds
from service.routing import Router

router = Router(prefix="/rounds/{round_id}/report", tags=["reports"], route_class=StrictRoute)


@router.put(
    "",
    summary="Submit or replace your report",
    responses=problem_responses(404, 409),
    dependencies=[Depends(take_turn_to_report)],
)
def put_report(round_id: RoundId, body: ReportPut, principal: GroupMember, state: State) -> Report:
    """Your group's size and reward model, as often as you like while the round is open; the last
    one counts. A reward model that needs no fitting is tried on a few samples at once. The report
    is stored encrypted; nobody else sees it, nor that there is one, until the round closes. Keep
    the `commitment` of the answer. Group keys only."""
    sealed = sealed_report(round_id, body, principal, state)
    with state.database.write() as session:
        now = require_open(session, principal, round_id, shared=True)
        return repository.put_report(session, round_id, sealed, now)


@router.get("", summary="Show your report", responses=problem_responses(404))
def get_report(
    round_id: RoundId, principal: GroupMember, state: State, session: ReadSession
) -> Report:
    """Your group's report in this round, also after the close. Group keys only."""
    rounds.get_round(session, principal, round_id)
    return repository.get_report(session, state.vault, round_id, principal.owner_id)


@router.delete("", summary="Withdraw your report", responses=problem_responses(404, 409))
def delete_report(
    round_id: RoundId, principal: GroupMember, session: WriteSession
) -> ReportDeleted:
    """Takes your group out of the round, while it is open. Group keys only."""
    require_open(session, principal, round_id)
    repository.delete_report(session, round_id, principal.owner_id)
    return ReportDeleted(round_id=round_id)
