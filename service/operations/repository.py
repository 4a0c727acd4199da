"""SQL of what is measured in the database. The same on every API process: nothing is counted twice.

Jobs of reward models, rerankings and previews are in no figure, not even for the operator: before
the close their number, or how long they take, tells of reports. So are the messages about them.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CTE, ColumnElement, Float, and_, case, extract, func, select
from sqlalchemy.orm import Session

from api_schemas.jobs import STAGES, JobKind
from api_schemas.outcomes import WorldOutcome
from api_schemas.rounds import RoundState
from service.database import database_now
from service.tables import (
    JobEventRow,
    JobRow,
    JobStageRow,
    OutcomeRow,
    RoundRow,
    WebhookEndpointRow,
    WebhookMessageRow,
)

SHOWN_KINDS: tuple[JobKind, ...] = (
    "round",
    "audit",
    "quote",
    "corpus",
    "base_model",
    "evaluation",
)
"""Of jobs; what the others are for is sealed."""
SHOWN_STATES: tuple[RoundState, ...] = (
    "open",
    "closed",
    "running",
    "settled",
    "failed",
    "cancelled",
)
"""Of rounds: a draft is the operator's alone."""
BUCKETS_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 14400)
"""Of a stage: from listing a tiny pool to a training of hours."""


@dataclass(frozen=True)
class StageFigures:
    """Of one stage, over all rounds' jobs that finished it. `at_most` counts by bucket, each with
    those before it; `token_seconds` are the seconds in which the tokens were counted."""

    stage: str
    finished: int
    seconds: float
    at_most: tuple[int, ...]
    tokens: int
    token_seconds: float


@dataclass(frozen=True)
class Backlog:
    """How many wait, and for how many seconds the first of them has (0 where none does)."""

    waiting: int
    seconds: float


@dataclass(frozen=True)
class Welfare:
    """Of the grand world of the round that settled last, in agent·reward units."""

    initial: float
    tuned: float
    optimum: float
    divergence: float
    settled_at: datetime


def count_rounds(session: Session) -> dict[str, int]:
    """By state, of those that were opened."""
    opened = select(RoundRow.state, func.count()).where(RoundRow.opened_at.is_not(None))
    return dict(session.execute(opened.group_by(RoundRow.state)).all())


def overdue_rounds(session: Session) -> Backlog:
    """Open rounds past their announced deadline: a coordinator closes them within a second."""
    now = database_now(session)
    due = (RoundRow.state == "open") & (RoundRow.closes_at <= now)
    waiting, first = session.execute(
        select(func.count(), func.min(RoundRow.closes_at)).where(due)
    ).one()
    return _backlog(waiting, first, now)


def queued_jobs(session: Session, kind: JobKind) -> Backlog:
    """Jobs that no coordinator has taken yet, since they were queued, the last time if again."""
    now = database_now(session)
    since = (
        select(func.max(JobEventRow.created_at).label("queued_at"))
        .join(JobRow, JobRow.id == JobEventRow.job_id)
        .where(JobRow.status == "queued", JobRow.kind == kind, JobEventRow.type == "job_queued")
        .group_by(JobRow.id)
        .subquery()
    )
    waiting, first = session.execute(select(func.count(), func.min(since.c.queued_at))).one()
    return _backlog(waiting, first, now)


def count_running_jobs(session: Session) -> dict[tuple[str, str], int]:
    """By kind and lease. `held` by a coordinator; `between_attempts`, given back to be tried again;
    `lost` by a coordinator that is silent for longer than its lease, and not taken over yet."""
    now = database_now(session)
    lease = case(
        (JobRow.lease_owner.is_(None), "between_attempts"),
        (JobRow.lease_expires_at > now, "held"),
        else_="lost",
    )
    running = select(JobRow.kind, lease, func.count())
    running = running.where(JobRow.status == "running", JobRow.kind.in_(SHOWN_KINDS))
    found = session.execute(running.group_by(JobRow.kind, lease))
    return {(kind, state): count for kind, state, count in found}


def stage_figures(session: Session) -> list[StageFigures]:
    """Of the stages of rounds, which no other job has, in their order."""
    finished = _finished_stages(session).c
    at_most = [func.sum(case((finished.seconds <= b, 1), else_=0)) for b in BUCKETS_SECONDS]
    counted = case((finished.tokens.is_not(None), finished.seconds), else_=0.0)
    found = select(
        finished.stage,
        func.count(),
        func.sum(finished.seconds),
        func.coalesce(func.sum(finished.tokens), 0),
        func.sum(counted),
        *at_most,
    ).group_by(finished.stage)
    by_stage = {row[0]: _stage(*row) for row in session.execute(found)}
    return [by_stage.get(stage, _never(stage)) for stage in STAGES]


def _finished_stages(session: Session) -> CTE:
    """Materialized, or SQLite works out the seconds of each anew for every bucket."""
    finished = select(JobStageRow.stage, JobStageRow.tokens, _seconds(session).label("seconds"))
    of_rounds = JobStageRow.stage.in_(STAGES), JobStageRow.finished_at.is_not(None)
    return finished.where(*of_rounds).cte("finished").prefix_with("MATERIALIZED")


def count_failed_attempts(session: Session) -> dict[str, int]:
    """Attempts at the shown jobs that ended by a fault of machines, by the fault's code."""
    code = JobEventRow.data["code"].as_string()
    failed = (
        select(code, func.count())
        .join(JobRow, JobRow.id == JobEventRow.job_id)
        .where(
            JobEventRow.level == "error",
            JobEventRow.type == "warning",
            JobRow.kind.in_(SHOWN_KINDS),
        )
        .group_by(code)
    )
    return dict(session.execute(failed).all())


def pending_messages(session: Session) -> Backlog:
    """Webhook messages that have not arrived yet, and how long ago the first was due of those whose
    receiver has not asked for a pause."""
    now = database_now(session)
    paused = WebhookEndpointRow.paused_until > now
    due = case((paused, None), else_=WebhookMessageRow.next_attempt_at)
    pending = (
        select(func.count(), func.min(due))
        .select_from(WebhookEndpointRow)
        .join(
            WebhookMessageRow,
            and_(
                WebhookMessageRow.endpoint_id == WebhookEndpointRow.id,
                WebhookMessageRow.status == "pending",
            ),
        )
        .where(WebhookEndpointRow.status == "enabled", _tells_of_no_job())
    )
    waiting, first = session.execute(pending).one()
    return _backlog(waiting, first, now)


def last_welfare(session: Session) -> Welfare | None:
    last = (
        select(OutcomeRow.payload, RoundRow.settled_at)
        .join(RoundRow, RoundRow.id == OutcomeRow.round_id)
        .where(RoundRow.settled_at.is_not(None))
        .order_by(RoundRow.settled_at.desc())
        .limit(1)
    )
    found = session.execute(last).first()
    if found is None:
        return None
    payload, settled_at = found
    (grand,) = (
        WorldOutcome.model_validate(world)
        for world in payload["worlds"]
        if world["without_group_id"] is None
    )
    return Welfare(
        initial=grand.welfare_initial,
        tuned=grand.welfare,
        optimum=grand.welfare_optimum,
        divergence=grand.divergence,
        settled_at=settled_at,
    )


def _tells_of_no_job() -> ColumnElement[bool]:
    return WebhookMessageRow.type.not_like("job.%")


def _backlog(waiting: int, since: datetime | None, now: datetime) -> Backlog:
    return Backlog(waiting, max(0.0, (now - since).total_seconds()) if since else 0.0)


def _seconds(session: Session) -> ColumnElement[float]:
    """How long a stage took. SQLite has days of Julian dates, good to 0.1 ms."""
    start, end = JobStageRow.started_at, JobStageRow.finished_at
    if session.get_bind().dialect.name == "sqlite":
        return (func.julianday(end, type_=Float) - func.julianday(start, type_=Float)) * 86400.0
    return extract("epoch", end - start).cast(Float)


def _stage(
    stage: str, finished: int, seconds: float, tokens: int, token_seconds: float, *at_most: int
) -> StageFigures:
    return StageFigures(
        stage, finished, float(seconds), tuple(map(int, at_most)), int(tokens), float(token_seconds)
    )


def _never(stage: str) -> StageFigures:
    return StageFigures(stage, 0, 0.0, (0,) * len(BUCKETS_SECONDS), 0, 0.0)
