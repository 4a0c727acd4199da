"""Routes of rounds."""

from typing import Annotated

from fastapi import Query

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput
from api_schemas.ids import RoundId
from api_schemas.rounds import Round, RoundState
from service import audit
from service.auth import CurrentPrincipal, Operator
from service.bodies import StrictRoute
from service.database import database_now
from service.dependencies import ReadSession, WriteSession
from service.errors import problem_responses
from service.groups import repository as groups
from service.idempotency import Idempotent
from service.pages import Page
from service.rounds import lifecycle, repository
from service.rounds.announcing import Announced, require_grid_fits
from service.routing import Router

router = Router(prefix="/rounds", tags=["rounds"], route_class=StrictRoute)

State = Annotated[
    RoundState | None, Query(description="Rounds in this state alone; by default all.")
]


@router.post("", status_code=201, summary="Announce a round", responses=problem_responses(404, 409))
def create_round(principal: Operator, announcement: Announced, idempotent: Idempotent) -> Round:
    """Makes a draft that only the operator sees: the announcement with the digests of the base
    model and the prompts, which never change again. Open it next. Operator only."""
    session = idempotent.session

    def work() -> Round:
        now = database_now(session)
        if announcement.closes_at is not None and announcement.closes_at <= now:
            raise InvalidInput(
                f"closes_at {announcement.closes_at.isoformat()} is past; now is "
                f"{now.isoformat(timespec='seconds')}",
                param="closes_at",
            )
        require_grid_fits(announcement, groups.count_groups(session))
        created = repository.add_round(session, announcement, now)
        audit.record(session, principal, "round.created", created.id)
        return created

    return idempotent.run(announcement.model_dump(mode="json"), Round, work)


@router.get("", summary="List the rounds")
def list_rounds(
    principal: CurrentPrincipal, session: ReadSession, page: Page, state: State = None
) -> ListPage[Round]:
    """Rounds, newest first; `state` narrows the list. A group sees those that were opened."""
    return repository.list_rounds(session, principal, page, state)


@router.get("/{round_id}", summary="Show a round", responses=problem_responses(404))
def get_round(round_id: RoundId, principal: CurrentPrincipal, session: ReadSession) -> Round:
    """One round with its announcement. It tells nothing of reports, not even how many there are.
    A group sees rounds that were opened."""
    return repository.get_round(session, principal, round_id)


@router.post("/{round_id}/open", summary="Open a round", responses=problem_responses(404, 409))
def open_round(round_id: RoundId, principal: Operator, session: WriteSession) -> Round:
    """Shows a draft to the groups and takes their reports from `opens_at` on. Operator only."""
    row = repository.lock_round(session, principal, round_id)
    require_grid_fits(repository.to_round(session, row).announcement, groups.count_groups(session))
    lifecycle.open_for_reports(session, row)
    audit.record(session, principal, "round.opened", round_id)
    return repository.to_round(session, row)


@router.post("/{round_id}/close", summary="Close a round", responses=problem_responses(404, 409))
def close_round(round_id: RoundId, principal: Operator, session: WriteSession) -> Round:
    """Ends the reports and queues the job. A round with an announced `closes_at` can't be closed
    before, and closes by itself then. Without any report the round fails. Operator only."""
    row = repository.lock_round(session, principal, round_id)
    lifecycle.close(session, row)
    audit.record(session, principal, "round.closed", round_id)
    return repository.to_round(session, row)


@router.post("/{round_id}/cancel", summary="Cancel a round", responses=problem_responses(404, 409))
def cancel_round(round_id: RoundId, principal: Operator, session: WriteSession) -> Round:
    """Gives a round up for good, and its job with it, unless it is settled or failed. Nobody is
    invoiced. Operator only."""
    row = repository.lock_round(session, principal, round_id)
    lifecycle.cancel(session, row)
    audit.record(session, principal, "round.cancelled", round_id)
    return repository.to_round(session, row)
