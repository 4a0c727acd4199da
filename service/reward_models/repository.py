"""SQL of reward models and rerankings. Every query is scoped to the owner; nobody else sees any."""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, defer

from api_schemas.base import ListPage
from api_schemas.errors import Conflict, NotFound
from api_schemas.jobs import RerankingJobInput, RewardModelJobInput
from api_schemas.reward_models import (
    FittedResult,
    Reranked,
    Reranking,
    RewardModel,
    RewardModelCreate,
)
from service.auth import Principal
from service.database import database_now
from service.pages import PageQuery, fetch_rows, to_page
from service.tables import JobRow, RerankingRow, RewardModelRow


def add_reward_model(
    session: Session,
    principal: Principal,
    job_id: str,
    job: RewardModelJobInput,
    asked: RewardModelCreate,
) -> RewardModel:
    row = RewardModelRow(
        id=job.reward_model_id,
        owner_id=principal.owner_id,
        name=asked.name,
        job_id=job_id,
        spec=asked.reward_model.model_dump(mode="json"),
        evaluation_file_id=asked.evaluation_file_id,
        pinned=job.pinned.model_dump(mode="json"),
        created_at=database_now(session),
    )
    session.add(row)
    session.flush()
    return _reward_models(session, [row])[0]


def add_fitted(session: Session, reward_model_id: str, fitted: FittedResult) -> None:
    row = session.get_one(RewardModelRow, reward_model_id)
    row.result = fitted.model_dump(mode="json")
    row.digest = fitted.model


def list_reward_models(
    session: Session, principal: Principal, page: PageQuery
) -> ListPage[RewardModel]:
    rows, has_more = fetch_rows(session, _own(principal), page, id_column=RewardModelRow.id)
    return to_page(_reward_models(session, rows), has_more)


def get_reward_model(session: Session, principal: Principal, reward_model_id: str) -> RewardModel:
    return _reward_models(session, [_found(session, principal, reward_model_id)])[0]


def get_fitted(
    session: Session, principal: Principal, reward_model_id: str, param: str | None = None
) -> FittedResult:
    """What the reward model's job found. Raises NotFound, and Conflict until it has succeeded."""
    row = _found(session, principal, reward_model_id, param)
    if row.result is None:
        status = session.get_one(JobRow, row.job_id).status
        raise Conflict(
            f"reward model {reward_model_id} is not ready: its job {row.job_id} is {status}",
            code="reward_model_not_ready",
            param=param,
        )
    return FittedResult.model_validate(row.result)


def add_reranking(session: Session, job_id: str, job: RerankingJobInput, of: str) -> Reranking:
    """A reranking with the reward model `of`."""
    row = RerankingRow(
        id=job.reranking_id, reward_model_id=of, job_id=job_id, created_at=database_now(session)
    )
    session.add(row)
    session.flush()
    return _rerankings(session, [row], with_results=True)[0]


def add_ranks(session: Session, reranking_id: str, result: Sequence[Reranked]) -> None:
    row = session.get_one(RerankingRow, reranking_id)
    row.result = [each.model_dump(mode="json") for each in result]


def list_rerankings(
    session: Session, principal: Principal, reward_model_id: str, page: PageQuery
) -> ListPage[Reranking]:
    """Newest first, without results. Raises NotFound for a reward model of somebody else."""
    _found(session, principal, reward_model_id)
    of_model = select(RerankingRow).where(RerankingRow.reward_model_id == reward_model_id)
    rows, has_more = fetch_rows(
        session, of_model.options(defer(RerankingRow.result)), page, id_column=RerankingRow.id
    )
    return to_page(_rerankings(session, rows, with_results=False), has_more)


def get_reranking(session: Session, principal: Principal, reranking_id: str) -> Reranking:
    own = select(RerankingRow).join(RewardModelRow)
    row = session.scalar(
        own.where(RerankingRow.id == reranking_id, RewardModelRow.owner_id == principal.owner_id)
    )
    if row is None:
        raise NotFound(f"there is no reranking {reranking_id}")
    return _rerankings(session, [row], with_results=True)[0]


def _own(principal: Principal) -> Select[RewardModelRow]:
    return select(RewardModelRow).where(RewardModelRow.owner_id == principal.owner_id)


def _found(
    session: Session, principal: Principal, reward_model_id: str, param: str | None = None
) -> RewardModelRow:
    row = session.scalar(_own(principal).where(RewardModelRow.id == reward_model_id))
    if row is None:
        raise NotFound(f"there is no reward model {reward_model_id}", param=param)
    return row


def _statuses(session: Session, job_ids: Sequence[str]) -> dict[str, str]:
    of_jobs = select(JobRow.id, JobRow.status).where(JobRow.id.in_(job_ids))
    return dict(session.execute(of_jobs).all())


def _reward_models(session: Session, rows: Sequence[RewardModelRow]) -> list[RewardModel]:
    statuses = _statuses(session, [row.job_id for row in rows])
    return [
        RewardModel.model_validate(
            {
                "id": row.id,
                "name": row.name,
                "reward_model": row.spec,
                "evaluation_file_id": row.evaluation_file_id,
                "job_id": row.job_id,
                "status": statuses[row.job_id],
                "digest": row.digest,
                "report_card": row.result["report_card"] if row.result else None,
                "created_at": row.created_at,
            }
        )
        for row in rows
    ]


def _rerankings(
    session: Session, rows: Sequence[RerankingRow], *, with_results: bool
) -> list[Reranking]:
    statuses = _statuses(session, [row.job_id for row in rows])
    return [
        Reranking.model_validate(
            {
                "id": row.id,
                "reward_model_id": row.reward_model_id,
                "job_id": row.job_id,
                "status": statuses[row.job_id],
                "result": row.result if with_results else None,
                "created_at": row.created_at,
            }
        )
        for row in rows
    ]
