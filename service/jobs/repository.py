"""SQL of jobs as a principal sees them: a group sees those of rounds that were opened.

The jobs of audits and quotes are the operator's alone. So are the digests of a round's stages:
whoever has one can test guesses of what the others reported, for as long as there are reports. The
jobs of reward models and previews are their owner's alone: before the close, the operator too may
not know a group's taste. Those of corpora, base models and evaluations have the operator as owner.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row, Select, bindparam, exists, or_, select
from sqlalchemy.orm import Session, defer

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.jobs import Job, JobKind, StageName, stages_of
from service.auth import Principal
from service.pages import PageQuery, fetch_rows, to_page
from service.rounds import repository as rounds
from service.tables import (
    CorpusRow,
    EvaluationRow,
    FineTunedBaseModelRow,
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
_Purpose = (
    IncentiveAuditRow
    | RewardModelRow
    | RerankingRow
    | QuoteRow
    | PreviewRow
    | CorpusRow
    | FineTunedBaseModelRow
    | EvaluationRow
)
_PURPOSES: dict[JobKind, type[_Purpose]] = {
    "audit": IncentiveAuditRow,
    "reward_model": RewardModelRow,
    "reranking": RerankingRow,
    "quote": QuoteRow,
    "preview": PreviewRow,
    "corpus": CorpusRow,
    "base_model": FineTunedBaseModelRow,
    "evaluation": EvaluationRow,
}


_OWN = JobRow.owner_id == bindparam("owner_id")
# Not `IN (SELECT …)`: for one job both databases would list every round that was opened.
_OF_OPENED_ROUND = (JobRow.kind == "round") & exists().where(
    RoundRow.id == JobRow.round_id, RoundRow.opened_at.is_not(None)
)
_TO_OPERATOR = select(JobRow).where(or_(JobRow.round_id.is_not(None), _OWN))
_TO_GROUP = select(JobRow).where(or_(_OF_OPENED_ROUND, _OWN))
# A job is asked for again and again while it runs: to build a statement takes as long as to run it,
# and the input, which is long, is not shown.
_THIS = JobRow.id == bindparam("job_id")
_ONE_TO_OPERATOR = _TO_OPERATOR.where(_THIS).options(defer(JobRow.input))
_ONE_TO_GROUP = _TO_GROUP.where(_THIS).options(defer(JobRow.input))
_STAGES = select(
    JobStageRow.job_id,
    JobStageRow.stage,
    JobStageRow.started_at,
    JobStageRow.finished_at,
    JobStageRow.digest,
).where(JobStageRow.job_id.in_(bindparam("job_ids", expanding=True)))
_Stage = Row[str, str, datetime, datetime | None, str | None]


def list_jobs(session: Session, principal: Principal, page: PageQuery) -> ListPage[Job]:
    rows, has_more = fetch_rows(session, _visible(principal), page, id_column=JobRow.id)
    return to_page(_to_jobs(session, principal, rows), has_more)


def get_job(session: Session, principal: Principal, job_id: str) -> Job:
    return to_job(session, principal, find_job(session, principal, job_id))


def find_job(session: Session, principal: Principal, job_id: str) -> JobRow:
    """Raises NotFound for a job that the principal may not see."""
    one = _ONE_TO_OPERATOR if principal.is_operator else _ONE_TO_GROUP
    row = session.scalar(one, {"owner_id": principal.owner_id, "job_id": job_id})
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
    visible = _TO_OPERATOR if principal.is_operator else _TO_GROUP
    return visible.params(owner_id=principal.owner_id)


def _to_jobs(session: Session, principal: Principal, rows: Sequence[JobRow]) -> list[Job]:
    session.flush()
    stages = session.execute(_STAGES, {"job_ids": [row.id for row in rows]})
    by_job_and_name = {(stage.job_id, stage.stage): stage for stage in stages}
    purposes = _purposes(session, rows)
    return [
        _job(
            row,
            {name: by_job_and_name.get((row.id, name)) for name in stages_of(kind_of(row))},
            purposes.get(row.id, {}),
            principal,
        )
        for row in rows
    ]


def _purposes(session: Session, rows: Sequence[JobRow]) -> dict[str, dict[str, str]]:
    """What jobs that settle no round are for, by the job's id: the field that names it, and its id.

    Only the tables of the kinds among them are asked; a round's own job needs none.
    """
    found: dict[str, dict[str, str]] = {}
    for kind in {kind_of(row) for row in rows} & _PURPOSES.keys():
        table = _PURPOSES[kind]
        ids = [row.id for row in rows if row.kind == kind]
        columns = select(table.job_id, table.id).where(table.job_id.in_(ids))
        for job_id, id_ in session.execute(columns):
            found[job_id] = {f"{kind}_id": id_}
    return found


def _job(
    row: JobRow,
    stages: Mapping[StageName, _Stage | None],
    purpose: Mapping[str, str],
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


def _stage(name: str, row: _Stage | None, job_runs: bool, shows_digest: bool) -> dict[str, Any]:
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
