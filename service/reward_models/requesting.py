"""From a request to a reward model, or a reranking with one, that waits for its job."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import Session

from api_schemas.ids import new_id
from api_schemas.jobs import RerankingJobInput, RewardModelJobInput
from api_schemas.reward_models import (
    PinnedInputs,
    Reranking,
    RerankingCreate,
    RewardModel,
    RewardModelCreate,
)
from service.auth import CurrentPrincipal, Principal
from service.dependencies import State
from service.jobs import queue
from service.reward_models import repository
from service.reward_models.pinning import pin


def _pinned(body: RewardModelCreate, principal: CurrentPrincipal, state: State) -> PinnedInputs:
    """Runs before the write transaction: digesting a base model's weights is slow."""
    return pin(state, principal, body.reward_model, body.evaluation_file_id)


Pinned = Annotated[PinnedInputs, Depends(_pinned)]


def request_reward_model(
    session: Session, principal: Principal, asked: RewardModelCreate, pinned: PinnedInputs
) -> RewardModel:
    job = RewardModelJobInput(
        reward_model_id=new_id("rm"),
        reward_model=asked.reward_model,
        evaluation_file_id=asked.evaluation_file_id,
        pinned=pinned,
        owner_id=principal.owner_id,
    )
    job_id = queue.enqueue(session, job, principal.owner_id)
    return repository.add_reward_model(session, principal, job_id, job, asked)


def request_reranking(
    session: Session, principal: Principal, reward_model_id: str, asked: RerankingCreate
) -> Reranking:
    """Raises NotFound, and Conflict until the reward model's job has succeeded."""
    fitted = repository.get_fitted(session, principal, reward_model_id)
    job = RerankingJobInput(reranking_id=new_id("rrk"), fitted=fitted.model, items=asked.items)
    job_id = queue.enqueue(session, job, principal.owner_id)
    return repository.add_reranking(session, job_id, job, reward_model_id)
