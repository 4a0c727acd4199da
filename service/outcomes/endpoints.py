"""The route of a round's outcome."""

from fastapi import APIRouter

from api_schemas.ids import RoundId
from api_schemas.outcomes import Outcome
from service import audit
from service.auth import CurrentPrincipal
from service.dependencies import State
from service.errors import problem_responses
from service.outcomes import repository

router = APIRouter(prefix="/rounds/{round_id}/outcome", tags=["rounds"])


@router.get("", summary="Show a round's outcome", responses=problem_responses(404, 409))
def get_outcome(round_id: RoundId, principal: CurrentPrincipal, state: State) -> Outcome:
    """Worlds, valuations, payments, and how far each may be trusted; a Conflict until the round is
    settled. A group that reported sees the grand world and its own line, with fewer than three
    groups that line alone; the operator sees all, and the audit log tells that it looked."""
    if not principal.is_operator:
        with state.database.read() as session:
            return repository.get_outcome(session, principal, round_id)
    with state.database.write() as session:
        outcome = repository.get_outcome(session, principal, round_id)
        audit.record(session, principal, "outcome.read", round_id)
        return outcome
