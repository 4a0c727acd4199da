"""Routes of a round's outcome and of its certificate."""

from fastapi import APIRouter

from api_schemas.certificates import Certificate
from api_schemas.ids import RoundId
from api_schemas.outcomes import Outcome
from service import audit
from service.auth import CurrentPrincipal
from service.dependencies import State
from service.errors import problem_responses
from service.outcomes import certificates, repository

router = APIRouter(prefix="/rounds/{round_id}", tags=["rounds"])


@router.get("/outcome", summary="Show a round's outcome", responses=problem_responses(404, 409))
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


@router.get(
    "/certificate", summary="Show a round's certificate", responses=problem_responses(404, 409)
)
def get_certificate(round_id: RoundId, principal: CurrentPrincipal, state: State) -> Certificate:
    """What a false report gains at most, the measurements behind that, the largest gain that an
    audit found, and the digests of everything; a Conflict until the round is settled. It shows a
    group what the outcome does; the operator sees all, and the audit log tells that it looked."""
    if not principal.is_operator:
        with state.database.read() as session:
            return certificates.get_certificate(session, principal, round_id)
    with state.database.write() as session:
        certificate = certificates.get_certificate(session, principal, round_id)
        audit.record(session, principal, "certificate.read", round_id)
        return certificate
