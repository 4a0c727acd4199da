"""From a request in OpenAI's shape to what the inference process is asked for."""

from typing import Annotated

from fastapi import Depends

from api_schemas.completions import ChatCompletionCreate, CompletionCreate
from api_schemas.errors import InvalidInput
from service.auth import CurrentPrincipal, Principal
from service.dependencies import AppState, State
from service.models import repository
from workers.serving.requests import GenerationRequest, ServedModel, Turn

_COMPLETION_TOKENS = 16
"""What OpenAI's route writes where `max_tokens` is not given."""


def _chat_request(
    body: ChatCompletionCreate, principal: CurrentPrincipal, state: State
) -> GenerationRequest:
    """Raises NotFound (`model`) for whoever the model is not for. Holds no transaction after."""
    turns = [Turn(role=message.role, content=message.text) for message in body.messages]
    return _request(body, turns, state.settings.inference_max_tokens, principal, state)


def _completion_request(
    body: CompletionCreate, principal: CurrentPrincipal, state: State
) -> GenerationRequest:
    """As `_chat_request`."""
    otherwise = min(_COMPLETION_TOKENS, state.settings.inference_max_tokens)
    return _request(body, body.text, otherwise, principal, state)


ChatRequest = Annotated[GenerationRequest, Depends(_chat_request)]
CompletionRequest = Annotated[GenerationRequest, Depends(_completion_request)]


def _request(
    body: ChatCompletionCreate | CompletionCreate,
    prompt: str | list[Turn],
    otherwise: int,
    principal: Principal,
    state: AppState,
) -> GenerationRequest:
    field, tokens = body.limit
    _require_tokens(field, tokens, state.settings.inference_max_tokens)
    return GenerationRequest(
        model=_served(body.model, principal, state),
        owner_id=principal.owner_id,
        prompt=prompt,
        max_tokens=otherwise if tokens is None else tokens,
        may_shorten=tokens is None,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        stop=body.stops,
    )


def _require_tokens(field: str, tokens: int | None, most: int) -> None:
    if tokens is not None and tokens > most:
        raise InvalidInput(
            f"{field} {tokens} is more than the {most} that this service writes at most "
            "(TRUTHTUNE_INFERENCE_MAX_TOKENS)",
            param=field,
        )


def _served(name: str, principal: Principal, state: AppState) -> ServedModel:
    with state.database.read() as session:
        return repository.get_served(session, principal, name)
