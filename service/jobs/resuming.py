"""Going on with a corpus or an evaluation that stopped: its budget may change, all else stays."""

from typing import TypeVar

from sqlalchemy.orm import Session

from api_schemas.errors import Conflict, InvalidInput
from api_schemas.language_models import Budget, Spent
from service import quotas
from service.auth import Principal
from service.jobs import events, products, queue
from service.jobs import repository as jobs
from service.settings import Settings
from service.tables import CorpusRow, EvaluationRow, JobRow

_Resumable = TypeVar("_Resumable", CorpusRow, EvaluationRow)


def resume(
    session: Session,
    settings: Settings,
    principal: Principal,
    table: type[_Resumable],
    id_: str,
    budget: Budget,
) -> None:
    """Queue its job again, with this budget; what was bought is kept.

    Raises NotFound, Conflict unless its job failed or was cancelled, InvalidInput for a budget
    below what is spent already, and QuotaExceeded.
    """
    row = products.find(session, table, id_)
    _, job = jobs.lock_job(session, principal, row.job_id)
    if job.status not in ("failed", "cancelled"):
        noun = products.NOUNS[table]
        raise Conflict(
            f"{noun} {id_} is {job.status}; only one whose job failed or was cancelled can be "
            "resumed",
            code=f"{noun}_not_resumable",
        )
    _require_enough(budget, events.latest_spent(session, [job.id]).get(job.id, Spent()))
    quotas.require_job(session, settings, principal.owner_id)
    _set_budget(session, row, job, budget)
    queue.retry(session, job, f"resumed with a budget of {_words(budget)}")


def _set_budget(
    session: Session, row: CorpusRow | EvaluationRow, job: JobRow, budget: Budget
) -> None:
    """In its settings, and in what its locked job starts from."""
    row.settings = {**row.settings, "budget": budget.model_dump(mode="json")}
    job.input = {**job.input, "settings": row.settings}
    session.flush()


def _require_enough(budget: Budget, spent: Spent) -> None:
    tokens = spent.prompt_tokens + spent.completion_tokens
    if budget.max_tokens < tokens:
        raise InvalidInput(
            f"max_tokens {budget.max_tokens} is below the {tokens} tokens spent already",
            param="budget.max_tokens",
        )
    most = budget.max_cost_micro_units
    if most is not None and most < spent.cost_micro_units:
        raise InvalidInput(
            f"max_cost_micro_units {most} is below the {spent.cost_micro_units} spent already",
            param="budget.max_cost_micro_units",
        )


def _words(budget: Budget) -> str:
    tokens = f"{budget.max_tokens} tokens"
    most = budget.max_cost_micro_units
    return tokens if most is None else f"{tokens} and {most} micro-units"
