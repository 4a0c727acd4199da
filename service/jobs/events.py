"""Job events: append-only, numbered within the job, read as lists and as a live stream."""

import math
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import anyio
from anyio.lowlevel import RunVar
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from api_schemas.base import ListPage
from api_schemas.ids import new_id
from api_schemas.jobs import PUBLIC_EVENTS, JobEvent, ProgressEvent
from api_schemas.language_models import Spent
from service.auth import Principal
from service.database import Database
from service.jobs import repository
from service.pages import PageQuery, fetch_page
from service.tables import JobEventRow, JobRow

_MESSAGE_CHARACTERS = 4000
_POLL_SECONDS = 0.5
_BATCH = 100


def append(session: Session, job_id: str, event: ProgressEvent, now: datetime) -> None:
    """Write the next event of a job whose row the caller has locked: the lock makes the number."""
    last = session.scalar(
        select(func.max(JobEventRow.sequence)).where(JobEventRow.job_id == job_id)
    )
    session.add(
        JobEventRow(
            id=new_id("evt"),
            job_id=job_id,
            sequence=(last or 0) + 1,
            type=event.type,
            level=event.level,
            message=_storable(event.message)[:_MESSAGE_CHARACTERS],
            data=_storable(event.data),
            created_at=now,
        )
    )


def list_events(
    session: Session,
    principal: Principal,
    job_id: str,
    page: PageQuery,
    *,
    newest_first: bool = False,
) -> ListPage[JobEvent]:
    """Raises NotFound for a job that the principal may not see."""
    events = _visible(principal, repository.find_job(session, principal, job_id))
    return fetch_page(
        session,
        select(events).where(events.job_id == job_id),
        page,
        _event,
        id_column=events.id,
        order_by=events.sequence,
        oldest_first=not newest_first,
    )


def latest_spent(session: Session, job_ids: Sequence[str]) -> dict[str, Spent]:
    """What language models took so far, by job, of the jobs that have told it."""
    told = JobEventRow.data["spent"].as_string().is_not(None)
    last = (
        select(JobEventRow.job_id, func.max(JobEventRow.sequence).label("sequence"))
        .where(JobEventRow.job_id.in_(job_ids), JobEventRow.type == "stage_progress", told)
        .group_by(JobEventRow.job_id)
        .subquery()
    )
    of_last = (JobEventRow.job_id == last.c.job_id) & (JobEventRow.sequence == last.c.sequence)
    rows = session.scalars(select(JobEventRow).join(last, of_last))
    return {row.job_id: Spent.model_validate(row.data["spent"]) for row in rows}


async def follow(
    database: Database, principal: Principal, job_id: str, after: int
) -> AsyncIterator[JobEvent]:
    """Events beyond sequence `after` as they come, until all of a finished job have been given.

    An earlier `job_failed` of a job that was retried ends nothing: the job's status decides. No
    database connection is held between two looks.
    """
    while True:
        batch, finished = await anyio.to_thread.run_sync(
            _look, database, principal, job_id, after, limiter=_one_reader()
        )
        for event in batch:
            yield event
            after = event.sequence
        if finished:
            return
        if len(batch) < _BATCH:
            await anyio.sleep(_POLL_SECONDS)


def _look(
    database: Database, principal: Principal, job_id: str, after: int
) -> tuple[list[JobEvent], bool]:
    """The next events, and whether the job has finished and these are its last."""
    with database.read() as session:
        # The status first: a job that finishes between the two queries has its last event missed
        # by neither, at worst one look later.
        job = repository.find_job(session, principal, job_id)
        finished = job.status in repository.FINISHED
        events = _visible(principal, job)
        rows = session.scalars(
            select(events)
            .where(events.job_id == job_id, events.sequence > after)
            .order_by(events.sequence)
            .limit(_BATCH)
        ).all()
        return [_event(row) for row in rows], finished and len(rows) < _BATCH


_reader_limit: RunVar[anyio.CapacityLimiter] = RunVar("job_event_readers")


def _one_reader() -> anyio.CapacityLimiter:
    """All streams of an event loop look one after another: requests keep their connections."""
    try:
        return _reader_limit.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(1)
        _reader_limit.set(limiter)
        return limiter


def _visible(principal: Principal, job: JobRow) -> type[JobEventRow]:
    """The events of a job that the principal may see, as it may see them: all of its own job.

    Of a round's, a group's are numbered among the public ones: gaps would tell how many worlds were
    trained, and so how many groups reported.
    """
    if principal.is_operator or job.owner_id is not None:
        return JobEventRow
    columns = [column for column in JobEventRow.__table__.c if column.name != "sequence"]
    number = func.row_number().over(order_by=JobEventRow.sequence).label("sequence")
    public = select(*columns, number).where(
        JobEventRow.job_id == job.id, JobEventRow.type.in_(PUBLIC_EVENTS)
    )
    return aliased(JobEventRow, public.subquery(), adapt_on_names=True)


def _storable(value: Any) -> Any:
    """JSON and text that both databases take: neither has NaN, PostgreSQL has no U+0000."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value


def _event(row: JobEventRow) -> JobEvent:
    return JobEvent.model_validate(
        {
            "id": row.id,
            "sequence": row.sequence,
            "type": row.type,
            "level": row.level,
            "message": row.message,
            "data": row.data,
            "created_at": row.created_at,
        }
    )
