"""SQL of jobs as a principal sees them: a group sees those of rounds that were opened.

The jobs of audits and quotes are the operator's alone. So are the digests of a round's stages:
whoever has one can test guesses of what the others reported, for as long as there are reports. The
jobs of reward models and previews are their owner's alone: before the close, the operator too may
not know a group's taste.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.jobs import Job, JobKind, StageName, stages_of
from service.auth import Principal
from service.pages import PageQuery, fetch_rows, to_page
from service.rounds import repository as rounds
from service.tables import (
    IncentiveAuditRow,
    JobRow,
    JobStageRow,
    PreviewRow,
    QuoteRow,
    RerankingRow,
    RewardModelRow,
    RoundRow,
)

FINISHED = frozenset({"succeeded", "failed", "cancelled"})
_DIGESTS = TypeAdapter(dict[StageName, str])
_Purpose = IncentiveAuditRow | RewardModelRow | RerankingRow | QuoteRow | PreviewRow
_PURPOSES: dict[type[_Purpose], str] = {
    IncentiveAuditRow: "audit_id",
    RewardModelRow: "reward_model_id",
    RerankingRow: "reranking_id",
    QuoteRow: "quote_id",
    PreviewRow: "preview_id",
}


def list_jobs(session: Session, principal: Principal, page: PageQuery) -> ListPage[Job]:
    rows, has_more = fetch_rows(session, _visible(principal), page, id_column=JobRow.id)
    return to_page(_to_jobs(session, principal, rows), has_more)


def get_job(session: Session, principal: Principal, job_id: str) -> Job:
    return to_job(session, principal, find_job(session, principal, job_id))


def find_job(session: Session, principal: Principal, job_id: str) -> JobRow:
    """Raises NotFound for a job that the principal may not see."""
    row = session.scalar(_visible(principal).where(JobRow.id == job_id))
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return row


def lock_job(session: Session, principal: Principal, job_id: str) -> tuple[RoundRow | None, JobRow]:
    """The job's row and that of its round, if it has one, held until the transaction ends; the
    round first, as everywhere, so that two transactions can't wait for each other."""
    round_id = find_job(session, principal, job_id).round_id
    round_row = rounds.lock_round(session, principal, round_id) if round_id else None
    locked = select(JobRow).where(JobRow.id == job_id).with_for_update()
    job = session.scalars(locked.execution_options(populate_existing=True)).one()
    return round_row, job


def job_of_round(session: Session, round_id: str) -> JobRow:
    """The job that settled the round, or will."""
    own = select(JobRow).where(JobRow.round_id == round_id, JobRow.kind == "round")
    return session.scalars(own).one()


def stage_digests(session: Session, job_id: str) -> dict[StageName, str]:
    """What the job's finished stages left."""
    rows = session.scalars(
        select(JobStageRow).where(JobStageRow.job_id == job_id, JobStageRow.digest.is_not(None))
    )
    return _DIGESTS.validate_python({row.stage: row.digest for row in rows})


def expired_stages(session: Session, job_id: str) -> Sequence[str]:
    """The finished stages whose artifacts are kept no longer."""
    return session.scalars(
        select(JobStageRow.stage).where(
            JobStageRow.job_id == job_id,
            JobStageRow.finished_at.is_not(None),
            JobStageRow.digest.is_(None),
        )
    ).all()


def kind_of(row: JobRow) -> JobKind:
    kind: JobKind = row.kind  # type: ignore[assignment]  # the column holds nothing else
    return kind


def to_job(session: Session, principal: Principal, row: JobRow) -> Job:
    return _to_jobs(session, principal, [row])[0]


def _visible(principal: Principal) -> Select[JobRow]:
    own = JobRow.owner_id == principal.owner_id
    if principal.is_operator:
        return select(JobRow).where(or_(JobRow.round_id.is_not(None), own))
    opened = select(RoundRow.id).where(RoundRow.opened_at.is_not(None))
    of_rounds = (JobRow.kind == "round") & JobRow.round_id.in_(opened)
    return select(JobRow).where(or_(of_rounds, own))


def _to_jobs(session: Session, principal: Principal, rows: Sequence[JobRow]) -> list[Job]:
    session.flush()
    ids = [row.id for row in rows]
    stages = session.scalars(select(JobStageRow).where(JobStageRow.job_id.in_(ids))).all()
    by_job_and_name = {(stage.job_id, stage.stage): stage for stage in stages}
    purposes = _purposes(session, ids)
    return [
        _job(
            row,
            {name: by_job_and_name.get((row.id, name)) for name in stages_of(kind_of(row))},
            {name: found.get(row.id) for name, found in purposes.items()},
            principal,
        )
        for row in rows
    ]


def _purposes(session: Session, job_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """What jobs that settle no round are for: by the field that names it, its id by the job's."""
    found = {}
    for table, name in _PURPOSES.items():
        columns = select(table.job_id, table.id).where(table.job_id.in_(job_ids))
        found[name] = dict(session.execute(columns).all())
    return found


def _job(
    row: JobRow,
    stages: Mapping[StageName, JobStageRow | None],
    purpose: Mapping[str, str | None],
    principal: Principal,
) -> Job:
    shows_digests = principal.is_operator or row.owner_id is not None
    return Job.model_validate(
        {
            "id": row.id,
            "kind": row.kind,
            "round_id": row.round_id,
            **purpose,
            "status": row.status,
            "stages": [
                _stage(name, stage, row.status == "running", shows_digests)
                for name, stage in stages.items()
            ],
            "attempts": row.attempts,
            "cancel_requested": row.cancel_requested,
            "error": row.error,
            "created_at": row.created_at,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
        }
    )


def _stage(
    name: str, row: JobStageRow | None, job_runs: bool, shows_digest: bool
) -> dict[str, Any]:
    if row is None or row.finished_at is None:
        status = "running" if row is not None and job_runs else "pending"
        return {"name": name, "status": status, "seconds": None, "digest": None}
    return {
        "name": name,
        "status": "done",
        "seconds": (row.finished_at - row.started_at).total_seconds(),
        "digest": row.digest if shows_digest else None,
        "expired": row.digest is None,
    }
