"""Routes of evaluations."""

from fastapi import Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.evaluations import (
    Evaluation,
    EvaluationCreate,
    EvaluationResult,
    EvaluationResume,
)
from api_schemas.ids import EvaluationId
from service import audit, quotas
from service.auth import Operator
from service.bodies import StrictRoute
from service.dependencies import AppState, ReadSession, State, WriteSession
from service.downloads import JSON_LINES_RESPONSES, lines_response
from service.errors import problem_responses
from service.evaluations import repository, requesting
from service.evaluations.requesting import Checked
from service.idempotency import Idempotent
from service.pages import Page
from service.routing import Router

router = Router(prefix="/evaluations", tags=["evaluations"], route_class=StrictRoute)
_LINES = JSON_LINES_RESPONSES | problem_responses(404, 409, 416)


@router.post("", status_code=201, summary="Evaluate models", responses=problem_responses(404, 409))
def create_evaluation(
    principal: Operator,
    body: EvaluationCreate,
    job: Checked,
    idempotent: Idempotent,
    state: State,
) -> Evaluation:
    """Queues a job that has base models and tuned ones answer the same questions, and compares
    their answers with the references. Operator only."""
    session = idempotent.session

    def work() -> Evaluation:
        quotas.require_job(session, state.settings, principal.owner_id)
        made = requesting.request_evaluation(session, principal, job)
        audit.record(session, principal, "evaluation.created", made.id)
        return made

    return idempotent.run(body.model_dump(mode="json"), Evaluation, work)


@router.get("", summary="List the evaluations")
def list_evaluations(principal: Operator, session: ReadSession, page: Page) -> ListPage[Evaluation]:
    """Evaluations, newest first. Operator only."""
    return repository.list_evaluations(session, page)


@router.get("/{evaluation_id}", summary="Show an evaluation", responses=problem_responses(404))
def get_evaluation(
    evaluation_id: EvaluationId, principal: Operator, session: ReadSession
) -> Evaluation:
    """An evaluation and, once its job has succeeded, its table. Operator only."""
    return repository.get_evaluation(session, evaluation_id)


@router.post(
    "/{evaluation_id}/resume", summary="Resume an evaluation", responses=problem_responses(404, 409)
)
def resume_evaluation(
    evaluation_id: EvaluationId,
    principal: Operator,
    body: EvaluationResume,
    session: WriteSession,
    state: State,
) -> Evaluation:
    """Queues the job of an evaluation that failed or was cancelled again, with another budget;
    what the judge was paid for is kept. The budget counts from the evaluation's beginning.
    Operator only."""
    resumed = requesting.resume(session, state.settings, principal, evaluation_id, body.budget)
    audit.record(session, principal, "evaluation.resumed", evaluation_id)
    return resumed


@router.get(
    "/{evaluation_id}/answers",
    summary="Download an evaluation's answers",
    response_class=Response,
    responses=_LINES,
)
def get_evaluation_answers(
    evaluation_id: EvaluationId, request: Request, principal: Operator, state: State
) -> Response:
    """Questions, references and every model's answers, as JSON lines. Operator only."""
    digest = _result(state, evaluation_id).answers_sha256
    return lines_response(request, state.artifacts, digest, f"{evaluation_id}-answers.jsonl")


@router.get(
    "/{evaluation_id}/calls",
    summary="Download an evaluation's calls",
    response_class=Response,
    responses=_LINES,
)
def get_evaluation_calls(
    evaluation_id: EvaluationId, request: Request, principal: Operator, state: State
) -> Response:
    """Every call of the judge with its reply, as JSON lines. Operator only."""
    digest = _result(state, evaluation_id).calls_sha256
    return lines_response(request, state.artifacts, digest, f"{evaluation_id}-calls.jsonl")


def _result(state: AppState, evaluation_id: str) -> EvaluationResult:
    with state.database.read() as session:
        return repository.get_result(session, evaluation_id)
