"""Leases: one coordinator at a time holds a job, and only the holder may write about it.

Each claim raises the job's fencing token; every later write names the token it was claimed with and
is refused once another coordinator has claimed the job. Expiry is judged by the database's clock.

A round follows its own job: it runs, settles and fails with it. An audit's job leaves its round as
it is, settled, whatever becomes of the audit, and so does a quote's; the others have none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import ValidationError
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from api_schemas.jobs import (
    AnyJobInput,
    BaseModelJobInput,
    CorpusJobInput,
    EvaluationJobInput,
    JobInput,
    JobKind,
    PreviewJob,
    ProgressEvent,
    QueuedJob,
    QuoteJobInput,
    RerankingJobInput,
    RewardModelJobInput,
    RoundJob,
    StageName,
)
from api_schemas.rounds import RoundFailure
from service.database import database_now
from service.jobs import events, queue
from service.jobs.choice import next_job
from service.jobs.repository import kind_of, stage_digests
from service.previews import repository as previews
from service.reports import repository as reports
from service.rounds import lifecycle
from service.tables import JobRow, JobStageRow, RoundRow
from service.vault import DamagedSeal, Vault

JOB_CANCELLED = RoundFailure(
    code="job_cancelled", message="the operator cancelled the job; it can be retried"
)

_UNREADABLE = RoundFailure(
    code="unreadable_job",
    message="this version can't read the job, which another one made; retry it with that",
)

_DAMAGED = (
    "a report can't be opened: it was changed in the database, or this coordinator has another "
    "TRUTHTUNE_SEAL_KEY than the API; retry the job once that is mended"
)

_PREVIEW_DELETED = RoundFailure(
    code="preview_deleted", message="the preview was deleted, so there is nothing to score"
)

_INPUTS: dict[JobKind, type[QueuedJob]] = {
    "round": RoundJob,
    "audit": RoundJob,
    "reward_model": RewardModelJobInput,
    "reranking": RerankingJobInput,
    "quote": QuoteJobInput,
    "preview": PreviewJob,
    "corpus": CorpusJobInput,
    "base_model": BaseModelJobInput,
    "evaluation": EvaluationJobInput,
}


class LeaseLost(Exception):
    """Another coordinator has the job now, or it ended: whoever gets this must leave it alone."""


class CancelRequested(Exception):
    """Someone who may wants the job cancelled, so it may not be settled."""


@dataclass(frozen=True)
class Claim:
    """A held job: what to do, which stages are done already, and the token of its writes.

    `traceparent` is of what queued it, where that was traced.
    """

    job_id: str
    token: int
    attempt: int
    job: AnyJobInput
    digests: dict[StageName, str]
    traceparent: str | None = None

    @property
    def round_job(self) -> JobInput:
        """The input of a job that has a round, its own or an audit's."""
        assert isinstance(self.job, JobInput), f"job {self.job_id} is a {self.job.kind}'s"
        return self.job


def claim(
    session: Session, vault: Vault, owner: str, lease_seconds: float, max_attempts: int
) -> Claim | None:
    """The next job that nobody holds, now held by `owner` for `lease_seconds`; None if none.

    Its reports are unsealed for the workers. Jobs found on the way are ended if they are to be
    cancelled, have used up `max_attempts` claims, hold an input that this version can't read, or
    reports that can't be opened.
    """
    while True:
        now = database_now(session)
        found = next_job(session, now)
        if found is None:
            return None
        round_row, row = found
        if row.cancel_requested:
            _end(session, round_row, row, "cancelled", JOB_CANCELLED)
        elif row.attempts >= max_attempts:
            _end(session, round_row, row, "failed", _too_many(row.attempts))
        elif isinstance(job := _read_input(session, vault, row), RoundFailure):
            _end(session, round_row, row, "failed", job)
        else:
            _take(session, round_row, row, owner, now, lease_seconds)
            digests = stage_digests(session, row.id)
            return Claim(row.id, row.fencing_token, row.attempts, job, digests, row.traceparent)


def heartbeat(session: Session, held: Claim, lease_seconds: float) -> bool:
    """Renew the lease; True if the job is to be cancelled. Raises LeaseLost."""
    expires_at = database_now(session) + timedelta(seconds=lease_seconds)
    cancel_requested = session.scalar(
        update(JobRow)
        .where(_held_by(held))
        .values(lease_expires_at=expires_at)
        .returning(JobRow.cancel_requested)
    )
    if cancel_requested is None:
        raise LeaseLost(held.job_id)
    return bool(cancel_requested)


def record(session: Session, held: Claim, event: ProgressEvent) -> None:
    """Append an event of the work. Raises LeaseLost."""
    _lock_job(session, held)
    events.append(session, held.job_id, event, database_now(session))


def start_stage(session: Session, held: Claim, stage: StageName) -> None:
    """Note that a stage starts, or starts anew after an attempt that died in it.

    Raises LeaseLost.
    """
    _lock_job(session, held)
    now = database_now(session)
    row = session.get(JobStageRow, (held.job_id, stage))
    if row is None:
        session.add(JobStageRow(job_id=held.job_id, stage=stage, started_at=now))
    else:
        row.started_at, row.finished_at = now, None  # finished before, if what it left expired
    event = ProgressEvent(type="stage_started", message=f"{stage} started", data={"stage": stage})
    events.append(session, held.job_id, event, now)


def finish_stage(
    session: Session, held: Claim, stage: StageName, digest: str, tokens: int | None = None
) -> None:
    """Record a started stage's artifact, after which the stage is never run again, and how many
    tokens it sampled or trained on, if it counted them. Raises LeaseLost.
    """
    _lock_job(session, held)
    now = database_now(session)
    row = session.get_one(JobStageRow, (held.job_id, stage))
    row.finished_at = now
    row.digest = digest
    row.tokens = tokens
    seconds = round((now - row.started_at).total_seconds(), 3)
    event = ProgressEvent(
        type="stage_finished",
        message=f"{stage} finished after {seconds:.1f} s",
        data={"stage": stage, "seconds": seconds},
    )
    events.append(session, held.job_id, event, now)


def begin_settlement(session: Session, held: Claim) -> None:
    """Take the locks of `succeed` before anything else. Raises LeaseLost, or CancelRequested."""
    _, row = _lock_both(session, held)
    if row.cancel_requested:
        raise CancelRequested(held.job_id)


def succeed(session: Session, held: Claim) -> None:
    """End the job; its round is settled now if it was not. Raises LeaseLost."""
    round_row, row = _lock_both(session, held)
    if round_row is not None:
        lifecycle.move(session, round_row, "settled")
    queue.finish(session, row, "succeeded", database_now(session))


@contextmanager
def settling(session: Session, held: Claim, stage: StageName, result_digest: str) -> Iterator[None]:
    """Around what the last stage of a job writes, in the caller's transaction: the locks before it,
    the stage's and the job's end behind it. Raises LeaseLost, or CancelRequested."""
    begin_settlement(session, held)
    finish_stage(session, held, stage, result_digest)
    yield
    succeed(session, held)


def fail(session: Session, held: Claim, failure: RoundFailure) -> None:
    """End the job, and the round of its own, for a reason that another attempt would meet too.

    Raises LeaseLost.
    """
    _end(session, *_lock_both(session, held), "failed", failure)


def cancel(session: Session, held: Claim) -> None:
    """Grant a requested cancellation. Raises LeaseLost."""
    _end(session, *_lock_both(session, held), "cancelled", JOB_CANCELLED)


def release(session: Session, held: Claim, delay_seconds: float, *, counts: bool) -> None:
    """Give the job back for another attempt after the delay; `counts` says whether this one is
    held against the job. Raises LeaseLost."""
    row = _lock_job(session, held)
    row.lease_owner = None
    row.lease_expires_at = database_now(session) + timedelta(seconds=delay_seconds)
    row.fencing_token += 1
    if not counts:
        row.attempts -= 1


def _held_by(held: Claim) -> ColumnElement[bool]:
    return (
        (JobRow.id == held.job_id)
        & (JobRow.fencing_token == held.token)
        & (JobRow.status == "running")
    )


def _take(
    session: Session,
    round_row: RoundRow | None,
    row: JobRow,
    owner: str,
    now: datetime,
    lease_seconds: float,
) -> None:
    if round_row is not None and round_row.state != "running":
        lifecycle.move(session, round_row, "running")
    row.status = "running"
    row.attempts += 1
    row.fencing_token += 1
    row.lease_owner = owner
    row.lease_expires_at = now + timedelta(seconds=lease_seconds)
    row.started_at = row.started_at or now
    event = ProgressEvent(
        type="job_claimed",
        message=f"a coordinator works on it, attempt {row.attempts}",
        data={"attempt": row.attempts},
    )
    events.append(session, row.id, event, now)


def _read_input(session: Session, vault: Vault, row: JobRow) -> AnyJobInput | RoundFailure:
    """What the job starts from, or why nothing can."""
    try:
        queued = _INPUTS[kind_of(row)].model_validate(row.input)
        if isinstance(queued, PreviewJob):
            return previews.job_input(session, vault, queued.preview_id) or _PREVIEW_DELETED
        if not isinstance(queued, RoundJob):
            return queued
        return JobInput(
            round_id=queued.round_id,
            announcement=queued.announcement,
            announcement_digest=queued.announcement_digest,
            audit=queued.audit,
            reports=reports.job_inputs(session, vault, queued.round_id),
        )
    except ValidationError:
        return _UNREADABLE
    except DamagedSeal as error:
        return RoundFailure(code=error.code, message=_DAMAGED)


def _lock_job(session: Session, held: Claim) -> JobRow:
    row = session.scalar(
        select(JobRow)
        .where(_held_by(held))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise LeaseLost(held.job_id)
    return row


def _lock_both(session: Session, held: Claim) -> tuple[RoundRow | None, JobRow]:
    """The round that the job is the own of, and the job.

    The round first, as everywhere, so that two transactions can't wait for each other.
    """
    if held.job.kind != "round":
        return None, _lock_job(session, held)
    round_row = session.scalars(
        select(RoundRow)
        .where(RoundRow.id == held.round_job.round_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    return round_row, _lock_job(session, held)


def _end(
    session: Session,
    round_row: RoundRow | None,
    row: JobRow,
    status: Literal["failed", "cancelled"],
    failure: RoundFailure,
) -> None:
    # A cancelled round stays so, whatever its job came to.
    if round_row is not None and round_row.state != "cancelled":
        lifecycle.fail(session, round_row, failure)
    queue.finish(
        session, row, status, database_now(session), failure if status == "failed" else None
    )


def _too_many(attempts: int) -> RoundFailure:
    return RoundFailure(
        code="too_many_attempts",
        message=f"{attempts} attempts ended without a result; the coordinator's log has the "
        "reasons, and the job can be retried",
    )
