"""SQL of evaluations. Only the operator's routes lead here."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.evaluations import Evaluation, EvaluationResult
from api_schemas.jobs import EvaluationJobInput
from service.jobs import products
from service.pages import PageQuery, to_page
from service.tables import EvaluationRow


def add_evaluation(session: Session, job_id: str, job: EvaluationJobInput) -> Evaluation:
    settings = job.settings
    row = products.add(session, EvaluationRow, job.evaluation_id, job_id, settings.name, settings)
    return _evaluations(session, [row])[0]


def list_evaluations(session: Session, page: PageQuery) -> ListPage[Evaluation]:
    """Newest first."""
    rows, has_more = products.newest(session, EvaluationRow, page)
    return to_page(_evaluations(session, rows), has_more)


def get_evaluation(session: Session, evaluation_id: str) -> Evaluation:
    return _evaluations(session, [products.find(session, EvaluationRow, evaluation_id)])[0]


def get_result(session: Session, evaluation_id: str) -> EvaluationResult:
    """Raises NotFound, and Conflict until the evaluation's job has succeeded."""
    row = products.find_made(session, EvaluationRow, evaluation_id)
    return EvaluationResult.model_validate(row.result)


def _evaluations(session: Session, rows: Sequence[EvaluationRow]) -> list[Evaluation]:
    return [Evaluation.model_validate(each) for each in products.fields(session, rows)]
