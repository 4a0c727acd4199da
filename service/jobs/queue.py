"""The queue: jobs of every kind wait here, are given up, or tried again."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.errors import Conflict
from api_schemas.ids import new_id
from api_schemas.jobs import (
    EventType,
    JobKind,
    JobStatus,
    ProgressEvent,
    QueuedJob,
    QuoteJobInput,
    RoundJob,
)
from api_schemas.rounds import RoundFailure
from service.database import database_now
from service.jobs import events
from service.jobs.repository import FINISHED, kind_of
from service.operations.repository import SHOWN_KINDS
from service.tables import JobRow
from service.webhooks import notices
from workers.tracing import current_link

_ASKED_FOR: dict[JobKind, str] = {
    "round": "the round closed",
    "audit": "the operator asked for an audit",
    "reward_model": "its owner asked for a reward model",
    "reranking": "its owner asked for a reranking",
    "quote": "the operator asked for a quote",
    "preview": "its owner asked for a preview",
    "corpus": "the operator asked for a corpus",
    "base_model": "the operator asked for a base model",
    "evaluation": "the operator asked for an evaluation",
}
_SUCCESSES: dict[JobKind, str] = {
    "round": "the round is settled",
    "audit": "the audit is finished",
    "reward_model": "the reward model is ready",
    "reranking": "the responses are in order",
    "quote": "the quote is ready",
    "preview": "the preview is ready",
    "corpus": "the corpus is ready",
    "base_model": "the base model is ready",
    "evaluation": "the evaluation is ready",
}


def enqueue(session: Session, job: QueuedJob, owner_id: str | None = None) -> str:
    """Queue a job; gives its id.

    It is either a round's, which the caller has locked, or an owner's.
    """
    now = database_now(session)
    link = current_link() if job.kind in SHOWN_KINDS else None
    row = JobRow(
        id=new_id("job"),
        kind=job.kind,
        round_id=job.round_id if isinstance(job, RoundJob | QuoteJobInput) else None,
        owner_id=owner_id,
        status="queued",
        input=job.model_dump(mode="json"),
        traceparent=link.traceparent if link else None,
        created_at=now,
    )
    session.add(row)
    session.flush()
    event = ProgressEvent(type="job_queued", message=_ASKED_FOR[job.kind])
    events.append(session, row.id, event, now)
    return row.id


def cancel_job_of(session: Session, round_id: str) -> None:
    """Cancel the job that settles a locked round, if it has one that is not finished."""
    own = select(JobRow).where(JobRow.round_id == round_id, JobRow.kind == "round")
    row = session.scalar(own.with_for_update())
    if row is not None and row.status not in FINISHED:
        request_cancel(session, row)


def request_cancel(session: Session, row: JobRow) -> None:
    """Cancel a locked job that is not finished.

    A coordinator that holds it is asked to stop, and the job is cancelled once it has: till then
    two could work on the same.
    """
    now = database_now(session)
    row.cancel_requested = True
    held = row.status == "running" and row.lease_owner is not None
    if not held or row.lease_expires_at is None or row.lease_expires_at <= now:
        finish(session, row, "cancelled", now)


def retry(session: Session, row: JobRow, message: str = "tried again") -> None:
    """Queue a locked job once more; the stages it finished stay finished.

    Raises Conflict unless it failed or was cancelled.
    """
    if row.status not in ("failed", "cancelled"):
        raise Conflict(
            f"job {row.id} is {row.status}; only one that failed or was cancelled can be retried",
            code="job_not_retryable",
        )
    row.status = "queued"
    row.attempts = 0
    row.cancel_requested = False
    row.error = None
    row.finished_at = None
    now = database_now(session)
    events.append(session, row.id, ProgressEvent(type="job_queued", message=message), now)


_ENDINGS: dict[JobStatus, EventType] = {
    "succeeded": "job_succeeded",
    "failed": "job_failed",
    "cancelled": "job_cancelled",
}


def finish(
    session: Session,
    row: JobRow,
    status: JobStatus,
    now: datetime,
    failure: RoundFailure | None = None,
) -> None:
    """End a locked job and its lease, with the event that tells so."""
    row.status = status
    row.error = failure.model_dump(mode="json") if failure else None
    row.lease_owner = row.lease_expires_at = None
    row.finished_at = now
    events.append(
        session,
        row.id,
        ProgressEvent(
            type=_ENDINGS[status],
            level="error" if failure else "info",
            message=failure.message if failure else _end_message(row, status),
            data={"code": failure.code} if failure else {},
        ),
        now,
    )
    notices.job_ended(session, row)


def _end_message(row: JobRow, status: JobStatus) -> str:
    if status == "succeeded":
        return _SUCCESSES[kind_of(row)]
    return "the job was cancelled" if status == "cancelled" else "the job failed"
