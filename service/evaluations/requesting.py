"""From a request to an evaluation that waits for its job."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import Session

from api_schemas.errors import InvalidInput, NotFound
from api_schemas.evaluations import (
    EvaluatedModel,
    EvaluatedTunedModel,
    Evaluation,
    EvaluationCreate,
)
from api_schemas.ids import new_id
from api_schemas.jobs import EvaluatedInput, EvaluationJobInput
from api_schemas.language_models import Budget
from service.auth import Operator, Principal
from service.corpora.language_models import (
    Named,
    pin_local_models,
    require_endpoints,
    require_prices,
)
from service.corpora.sources import find_lines
from service.dependencies import AppState, State
from service.evaluations import repository
from service.fine_tuned_models import repository as base_models
from service.fine_tuned_models.resolving import resolve_allowed
from service.jobs import queue, resuming
from service.models import repository as models
from service.settings import Settings
from service.tables import EvaluationRow


def _checked(body: EvaluationCreate, principal: Operator, state: State) -> EvaluationJobInput:
    """Runs before the write transaction: digesting models' weights is slow."""
    named = _language_models(body)
    require_endpoints(state, named, body.budget)
    with state.database.read() as session:
        found = find_lines(session, principal, body.corpus_id, body.file_id)
    evaluated = _models(state, principal, body.models)
    if body.file_id is not None:
        _require_unseen(state, evaluated, body.file_id, found.lines)
    return EvaluationJobInput(
        evaluation_id=new_id("evl"),
        settings=body,
        models=evaluated,
        questions=found.holdout or found.lines,
        base_models=pin_local_models(state, named),
    )


Checked = Annotated[EvaluationJobInput, Depends(_checked)]


def request_evaluation(
    session: Session, principal: Principal, job: EvaluationJobInput
) -> Evaluation:
    job_id = queue.enqueue(session, job, principal.owner_id)
    return repository.add_evaluation(session, job_id, job)


def resume(
    session: Session, settings: Settings, principal: Principal, evaluation_id: str, budget: Budget
) -> Evaluation:
    """As `service.jobs.resuming.resume`. Raises InvalidInput as `require_prices` too."""
    resuming.resume(session, settings, principal, EvaluationRow, evaluation_id, budget)
    evaluation = repository.get_evaluation(session, evaluation_id)
    require_prices(settings.endpoint_list, _language_models(evaluation.settings), budget)
    return evaluation


def _language_models(body: EvaluationCreate) -> Named:
    return {"judge": body.judge} if body.judge else {}


def _models(
    state: AppState, principal: Principal, asked: Sequence[EvaluatedModel]
) -> list[EvaluatedInput]:
    found = []
    for i, model in enumerate(asked):
        if isinstance(model, EvaluatedTunedModel):
            found.append(_tuned(state, principal, model, f"models[{i}].model_id"))
            continue
        base = resolve_allowed(state, model.base_model, f"models[{i}].base_model")
        found.append(
            EvaluatedInput(model=model, base_model=base.name, revision=base.revision, adapter=None)
        )
    return found


def _require_unseen(
    state: AppState, evaluated: Sequence[EvaluatedInput], file_id: str, lines: str
) -> None:
    """Raises InvalidInput (`models[i]`) for a model with a base model, or an ancestor of it, that
    was trained on a file of these very lines: most of its answers would be learned by heart."""
    with state.database.read() as session:
        for i, model in enumerate(evaluated):
            for made in base_models.ancestry(session, model.base_model):
                if made.lines == lines:
                    raise InvalidInput(
                        f"models[{i}] was trained on the lines of file_id {file_id} (base model "
                        f"{made.base_model_id}): evaluate it on a file of questions that it has "
                        "not seen, or make a corpus and give its corpus_id, for an evaluation of "
                        "a corpus asks what it holds out",
                        code="trained_on_the_questions",
                        param=f"models[{i}]",
                    )


def _tuned(
    state: AppState, principal: Principal, asked: EvaluatedTunedModel, param: str
) -> EvaluatedInput:
    """A settled round's model, on the weights that the round announced."""
    try:
        with state.database.read() as session:
            model = models.get_model(session, principal, asked.model_id)
    except NotFound as error:
        raise NotFound(error.message, param=param) from error
    return EvaluatedInput(
        model=asked,
        base_model=model.base_model,
        revision=model.base_model_revision,
        adapter={file.name: file.sha256 for file in model.files},
    )
