"""Routes of tuned models."""

from typing import Annotated

from fastapi import Path, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.ids import ModelId
from api_schemas.models import BaseModelEntry, Model
from service.auth import CurrentPrincipal
from service.dependencies import ReadSession, State
from service.downloads import DOWNLOAD_RESPONSES, blob_response
from service.errors import problem_responses
from service.models import repository
from service.models.archive import ARCHIVE_NAME
from service.pages import Page
from service.routing import Router

router = Router(prefix="/models", tags=["models"])
_DOWNLOAD = DOWNLOAD_RESPONSES | problem_responses(404, 416)


@router.get("", summary="List the models")
def list_models(principal: CurrentPrincipal, session: ReadSession, page: Page) -> ListPage[Model]:
    """The models of settled rounds, newest first; a group sees those of rounds it took part in.
    Their base models can be asked too and have no place of their own in the list: each model names
    its own."""
    return repository.list_models(session, principal, page)


@router.get(
    "/{model_id}/files/{name}",
    summary="Download a file of a model",
    response_class=Response,
    responses=_DOWNLOAD,
)
def get_model_file(
    model_id: ModelId,
    name: Annotated[str, Path(max_length=255, description="As listed in the model's `files`.")],
    request: Request,
    principal: CurrentPrincipal,
    session: ReadSession,
    state: State,
) -> Response:
    """One file. Answers `Range`, `If-Range` and `If-None-Match`."""
    file = repository.get_file(session, principal, model_id, name)
    return blob_response(request, state.artifacts, file.sha256, file.bytes, file.name)


@router.get(
    "/{model_id}/adapter.zip",
    summary="Download a model",
    response_class=Response,
    responses=_DOWNLOAD,
)
def get_model_archive(
    model_id: ModelId,
    request: Request,
    principal: CurrentPrincipal,
    session: ReadSession,
    state: State,
) -> Response:
    """All files in one zip: unpack it into a folder and load that with PEFT. Answers `Range`,
    `If-Range` and `If-None-Match`."""
    file = repository.get_file(session, principal, model_id, ARCHIVE_NAME)
    return blob_response(
        request, state.artifacts, file.sha256, file.bytes, f"{model_id}-{ARCHIVE_NAME}"
    )


# The last route of all: a base model's name may hold slashes, as `owner/name` does.
@router.get("/{model_id:path}", summary="Show a model", responses=problem_responses(404))
def get_model(
    model_id: Annotated[
        str,
        Path(
            min_length=1,
            max_length=500,
            description="The id of a tuned model, or a base model's name.",
        ),
    ],
    principal: CurrentPrincipal,
    session: ReadSession,
) -> Model | BaseModelEntry:
    """A LoRA adapter in PEFT's format, its files, and the base model that it belongs on. For the
    groups of the round that were not excluded, and the operator; so also the base model of such a
    round, by its name."""
    return repository.get_entry(session, principal, model_id)
