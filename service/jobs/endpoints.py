"""Routes of jobs and their events."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.orm import Session
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.errors import Conflict
from api_schemas.ids import JobId
from api_schemas.jobs import Job, JobEvent
from service import audit, quotas
from service.auth import CurrentPrincipal, Operator, Principal, require_operator
from service.dependencies import ReadSession, State, WriteSession
from service.downloads import DRAWING_RESPONSES, drawing_response
from service.errors import problem_responses
from service.jobs import events, plots, queue, repository
from service.jobs.leases import JOB_CANCELLED
from service.operations.repository import SHOWN_KINDS
from service.pages import Page
from service.rounds import lifecycle
from service.routing import Router
from service.tables import JobRow, RoundRow

router = Router(prefix="/jobs", tags=["jobs"])


@router.get("", summary="List the jobs")
def list_jobs(principal: CurrentPrincipal, session: ReadSession, page: Page) -> ListPage[Job]:
    """The jobs of all rounds, newest first, and those of your own reward models. Those of audits
    are the operator's alone."""
    return repository.list_jobs(session, principal, page)


@router.get("/{job_id}", summary="Show a job", responses=problem_responses(404))
def get_job(job_id: JobId, principal: CurrentPrincipal, session: ReadSession) -> Job:
    """A job and how far its stages are. The digests of a round's artifacts are the operator's
    alone."""
    return repository.get_job(session, principal, job_id)


@router.get("/{job_id}/events", summary="List a job's events", responses=problem_responses(404))
def list_events(
    job_id: JobId,
    principal: CurrentPrincipal,
    session: ReadSession,
    page: Page,
    newest_first: Annotated[
        bool, Query(description="Begin with the latest event, and go backwards.")
    ] = False,
) -> ListPage[JobEvent]:
    """What happened in a job, oldest first unless asked otherwise. Of a round's, a group sees
    stages begin and end; the figures of worlds and groups are the operator's."""
    return events.list_events(session, principal, job_id, page, newest_first=newest_first)


def _visible_job(job_id: JobId, principal: CurrentPrincipal, state: State) -> str:
    """Refuses before the stream begins: after that, no status can tell. Holds no transaction."""
    with state.database.read() as session:
        return repository.get_job(session, principal, job_id).id


@router.get(
    "/{job_id}/events/stream",
    summary="Follow a job's events",
    response_class=EventSourceResponse,
    responses=problem_responses(404),
)
async def stream_events(
    job_id: Annotated[str, Depends(_visible_job)],
    principal: CurrentPrincipal,
    state: State,
    last_event_id: Annotated[
        int,
        Header(
            ge=0,
            le=2**31 - 1,
            description="The `id` of the last event seen: the stream goes on behind it.",
        ),
    ] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """The events as they come, as server-sent events: `id` is the sequence, `event` the type,
    `data` the event. Ends when the job has finished and all its events were sent."""
    async for event in events.follow(state.database, principal, job_id, last_event_id):
        yield ServerSentEvent(data=event, event=event.type, id=str(event.sequence))


@router.get(
    "/{job_id}/plots/reward_drift.svg",
    summary="Draw a training's reward against its drift",
    response_class=Response,
    responses=DRAWING_RESPONSES | problem_responses(404, 409, 416),
)
def get_reward_drift(
    job_id: JobId, request: Request, principal: Operator, state: State
) -> Response:
    """Every world's reward against its distance from the initial model, step by step, with the
    Pareto front, as SVG; a Conflict until the stage `train` is done. Operator only."""
    with state.database.read() as session:
        job = repository.get_job(session, principal, job_id)
    digest = plots.reward_drift(state.artifacts, job)
    return drawing_response(request, state.artifacts, digest, f"{job_id}-reward-drift.svg")


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=problem_responses(404, 409))
def cancel_job(job_id: JobId, principal: CurrentPrincipal, session: WriteSession) -> Job:
    """Stops the job; its round, if it is a round's own, fails with the code `job_cancelled`. A job
    that a coordinator works on shows `cancel_requested` until that has stopped. It can be retried.
    A group may stop the jobs of its own reward models, the operator any other."""
    round_row, row = _lock_to_change(session, principal, job_id)
    if row.status in repository.FINISHED:
        raise Conflict(f"job {job_id} is {row.status} already", code="job_finished")
    queue.request_cancel(session, row)
    ended = row.kind == "round" and row.status == "cancelled"
    if round_row is not None and ended and round_row.state != "cancelled":
        lifecycle.fail(session, round_row, JOB_CANCELLED)
    _record(session, principal, "job.cancel_requested", row)
    return repository.to_job(session, principal, row)


@router.post("/{job_id}/retry", summary="Retry a job", responses=problem_responses(404, 409))
def retry_job(
    job_id: JobId, principal: CurrentPrincipal, session: WriteSession, state: State
) -> Job:
    """Queues a failed or cancelled job again with the same input. Stages that it finished are not
    run again. A group may retry the jobs of its own reward models, the operator any other."""
    round_row, row = _lock_to_change(session, principal, job_id)
    if row.owner_id is not None:
        quotas.require_job(session, state.settings, row.owner_id)
    queue.retry(session, row)
    if round_row is not None and row.kind == "round":
        lifecycle.move(session, round_row, "closed")
    _record(session, principal, "job.retried", row)
    return repository.to_job(session, principal, row)


def _lock_to_change(
    session: Session, principal: Principal, job_id: str
) -> tuple[RoundRow | None, JobRow]:
    """Raises NotFound, and Forbidden where a group sees a round's job, which is the operator's."""
    round_row, row = repository.lock_job(session, principal, job_id)
    if round_row is not None:
        require_operator(principal)
    return round_row, row


def _record(session: Session, principal: Principal, action: str, row: JobRow) -> None:
    """In the audit log, unless the job is its owner's alone to know of."""
    if row.owner_id is None or row.kind in SHOWN_KINDS:
        audit.record(session, principal, action, row.id)
