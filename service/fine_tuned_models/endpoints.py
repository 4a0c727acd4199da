"""Routes of base models that are made here."""

from typing import Annotated, Literal

from fastapi import Path, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.fine_tuned_models import BaseModelCreate, BaseModelResult, FineTunedBaseModel
from api_schemas.ids import BaseModelId
from service import audit, quotas
from service.auth import CurrentPrincipal, Operator, Principal
from service.bodies import StrictRoute
from service.dependencies import AppState, ReadSession, State
from service.downloads import (
    DOWNLOAD_RESPONSES,
    DRAWING_RESPONSES,
    drawing_response,
    stored_response,
)
from service.errors import problem_responses
from service.fine_tuned_models import repository
from service.fine_tuned_models.requesting import Checked, request_base_model
from service.idempotency import Idempotent
from service.pages import Page
from service.routing import Router

router = Router(prefix="/base-models", tags=["base models"], route_class=StrictRoute)

CheckpointFile = Literal["adapter_model.safetensors", "adapter_config.json"]


@router.post(
    "", status_code=201, summary="Make a base model", responses=problem_responses(404, 409)
)
def create_base_model(
    principal: Operator,
    body: BaseModelCreate,
    job: Checked,
    idempotent: Idempotent,
    state: State,
) -> FineTunedBaseModel:
    """Queues a job that fine-tunes a base model on a corpus, or on a file of questions and answers.
    Once it has succeeded, a round may announce the `id` as its `base_model`. Operator only."""
    session = idempotent.session

    def work() -> FineTunedBaseModel:
        quotas.require_job(session, state.settings, principal.owner_id)
        made = request_base_model(session, principal, job)
        audit.record(session, principal, "base_model.created", made.id)
        return made

    return idempotent.run(body.model_dump(mode="json"), FineTunedBaseModel, work)


@router.get("", summary="List the base models made here")
def list_base_models(
    principal: Operator, session: ReadSession, page: Page
) -> ListPage[FineTunedBaseModel]:
    """Base models that were made here, newest first. Operator only."""
    return repository.list_base_models(session, page)


@router.get(
    "/{base_model_id}", summary="Show a base model made here", responses=problem_responses(404)
)
def get_base_model(
    base_model_id: BaseModelId, principal: CurrentPrincipal, session: ReadSession
) -> FineTunedBaseModel:
    """A base model and, once its job has succeeded, its losses and checkpoints. A group sees those
    that an opened round starts from."""
    return repository.get_base_model(session, principal, base_model_id)


@router.get(
    "/{base_model_id}/plot",
    summary="Draw a base model's losses",
    response_class=Response,
    responses=DRAWING_RESPONSES | problem_responses(404, 409, 416),
)
def get_base_model_plot(
    base_model_id: BaseModelId, request: Request, principal: CurrentPrincipal, state: State
) -> Response:
    """Training and held-out loss by step, as SVG; a Conflict until its job has succeeded."""
    digest = _result(state, principal, base_model_id).plot_sha256
    return drawing_response(request, state.artifacts, digest, f"{base_model_id}.svg")


@router.get(
    "/{base_model_id}/checkpoints/{step}/{name}",
    summary="Download a checkpoint",
    response_class=Response,
    responses=DOWNLOAD_RESPONSES | problem_responses(404, 409, 416),
)
def get_checkpoint(
    base_model_id: BaseModelId,
    step: Annotated[int, Path(ge=1, le=2**31 - 1, description="As in the result's `checkpoints`.")],
    name: CheckpointFile,
    request: Request,
    principal: CurrentPrincipal,
    state: State,
) -> Response:
    """A file of the adapter as it stood after so many steps, in PEFT's format; it belongs on the
    base model that was fine-tuned. Answers `Range`, `If-Range` and `If-None-Match`."""
    for found in _result(state, principal, base_model_id).checkpoints:
        if found.step == step:
            is_adapter = name == "adapter_model.safetensors"
            digest = found.adapter_sha256 if is_adapter else found.config_sha256
            return stored_response(request, state.artifacts, digest, name)
    raise NotFound(f"base model {base_model_id} has no checkpoint of step {step}", param="step")


def _result(state: AppState, principal: Principal, base_model_id: str) -> BaseModelResult:
    with state.database.read() as session:
        return repository.get_visible_result(session, principal, base_model_id)
