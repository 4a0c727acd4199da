"""OpenAI's routes. Their list of models is ours: `service.models`."""

from typing import Any

from fastapi import Request
from starlette.responses import Response

from api_schemas.completions import (
    ChatCompletion,
    ChatCompletionCreate,
    Completion,
    CompletionCreate,
)
from service.bodies import StrictRoute
from service.dependencies import State
from service.errors import problem_responses
from service.playground.answering import respond
from service.playground.formats import ChatFormat, CompletionFormat
from service.playground.requesting import ChatRequest, CompletionRequest
from service.routing import Router

router = Router(tags=["playground"], route_class=StrictRoute)
_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer; with `stream`, its chunks.", "content": _STREAM},
    **problem_responses(404, 503, 504),
}


@router.post(
    "/chat/completions",
    summary="Continue a conversation",
    response_model=ChatCompletion,
    responses=_ANSWERS,
)
async def create_chat_completion(
    request: Request, body: ChatCompletionCreate, asked: ChatRequest, state: State
) -> Response:
    """As OpenAI's route, so that its clients work. `model` is the id of a settled model, for the
    groups of its round that were not excluded, or the name of the base model of such a round. One
    message of the user is put to the model exactly as a round's prompts are. Unless it is streamed,
    an answer must be whole in 110 seconds."""
    return await respond(
        request,
        state,
        asked,
        ChatFormat(body.model),
        stream=body.stream,
        include_usage=body.includes_usage,
    )


@router.post(
    "/completions",
    summary="Continue a text",
    response_model=Completion,
    responses=_ANSWERS,
)
async def create_completion(
    request: Request, body: CompletionCreate, asked: CompletionRequest, state: State
) -> Response:
    """As OpenAI's older route: goes on with `prompt` as it is, without a chat template. For the
    same models and callers as conversations."""
    return await respond(
        request,
        state,
        asked,
        CompletionFormat(body.model),
        stream=body.stream,
        include_usage=body.includes_usage,
    )
