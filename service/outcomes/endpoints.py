"""Routes of a round's outcome, of its certificate, and of the pool that both rest on."""

from fastapi import Request
from starlette.responses import Response

from api_schemas.certificates import Certificate
from api_schemas.ids import RoundId
from api_schemas.outcomes import Outcome
from service import audit
from service.auth import CurrentPrincipal
from service.dependencies import State
from service.downloads import DOWNLOAD_RESPONSES, stored_response
from service.errors import problem_responses
from service.outcomes import certificates, repository
from service.routing import Router

router = Router(prefix="/rounds/{round_id}", tags=["rounds"])


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


@router.get(
    "/pool",
    summary="Download a round's pool",
    response_class=Response,
    responses=DOWNLOAD_RESPONSES | problem_responses(404, 409, 416),
)
def get_pool(
    round_id: RoundId, request: Request, principal: CurrentPrincipal, state: State
) -> Response:
    """The responses that payments were computed on, whose sha256 is the `pool_digest` of outcome
    and receipts: one safetensors file of tokens, texts and base weights. It was drawn before any
    report was read. A Conflict until the round is settled. For the groups of the round that were
    not excluded, and the operator. Answers `Range`, `If-Range` and `If-None-Match`."""
    with state.database.read() as session:
        digest = repository.pool_digest(session, principal, round_id)
    return stored_response(request, state.artifacts, digest, f"{round_id}-pool.safetensors")
