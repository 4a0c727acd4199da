"""The ends of the jobs of reward models: a result becomes visible, all at once or not.

Both raise LeaseLost or CancelRequested if the job is no longer to be published; whatever they
raise, the caller rolls back.
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api_schemas.errors import TruthtuneError
from api_schemas.jobs import RerankingJobInput, RewardModelJobInput
from api_schemas.reward_models import Candidates, FittedResult, Reranked, RerankedResult
from service.jobs import leases
from service.reward_models import repository


class InconsistentResult(TruthtuneError):
    """A stage left what can't be the result of its job (500)."""

    code = "inconsistent_result"


def publish_reward_model(session: Session, held: leases.Claim, fitted: FittedResult) -> None:
    """Write what the fit found, and end its job. The artifacts that it names are stored already."""
    assert isinstance(held.job, RewardModelJobInput), f"job {held.job_id} is a {held.job.kind}'s"
    with leases.settling(session, held, "publish", fitted.model):
        repository.add_fitted(session, held.job.reward_model_id, fitted)


def publish_reranking(
    session: Session, held: leases.Claim, reranked: RerankedResult, result_digest: str
) -> None:
    """Write the order of the responses, and end its job. Raises InconsistentResult too."""
    assert isinstance(held.job, RerankingJobInput), f"job {held.job_id} is a {held.job.kind}'s"
    _require_each_once(held.job.items, reranked.result)
    with leases.settling(session, held, "publish", result_digest):
        repository.add_ranks(session, held.job.reranking_id, reranked.result)


def _require_each_once(items: Sequence[Candidates], result: Sequence[Reranked]) -> None:
    expected = [len(item.responses) for item in items]
    found = [len(each.scores) for each in result]
    if found != expected:
        raise InconsistentResult(f"{expected} responses were to be scored, {found} scores came")
    for i, each in enumerate(result):
        if sorted(each.order) != list(range(expected[i])):
            raise InconsistentResult(f"the order of item {i} is not one of {expected[i]} places")
