"""One prompt, two answers: of the initial model and of what a round made of it.

With the page's script both answers grow as they are written; without it they come whole.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.completions import ChatCompletion
from api_schemas.errors import Problem
from api_schemas.ids import ModelId
from api_schemas.models import Model
from service.dashboard.api import Api, Refused, SessionApi
from service.dashboard.forms import number_of, texts
from service.dashboard.forwarding import Forwarded
from service.dashboard.pages import render
from service.dashboard.round_names import round_names
from service.dashboard.sessions import PATH, CheckedForm, Session, SignedIn

router = APIRouter(prefix=f"{PATH}/playground")
Side = Literal["initial", "tuned"]
SIDES: Mapping[Side, str] = {"initial": "Initial model", "tuned": "Tuned model"}
_ROUTE = "/v1/chat/completions"
_NUMBERS = ("temperature", "max_tokens", "seed")
_FIELDS = {"messages[0].content": "prompt", "messages": "prompt"} | {
    name: name for name in ("model", *_NUMBERS)
}
_DEFAULTS = {"prompt": "", "model": "", "temperature": "1", "max_tokens": "64", "seed": "1"}
_MOST = 25
_MODEL_ID = TypeAdapter(ModelId)


@dataclass(frozen=True)
class Answered:
    text: str | None
    problem: Problem | None = None
    is_cut: bool = False


@router.get("")
async def show_playground(
    request: Request, session: SignedIn, api: SessionApi, model: str = ""
) -> Response:
    return await _page(request, session, api, _DEFAULTS | {"model": model}, {})


@router.post("")
async def ask_both(
    request: Request, session: SignedIn, api: SessionApi, fields: CheckedForm
) -> Response:
    """Both at once, so that one page does not take twice as long."""
    values = _DEFAULTS | texts(fields)
    models = await _names(api, values["model"])
    asked = [_ask(api, request_body(values, models[side])) for side in SIDES]
    answers = await asyncio.gather(*asked)
    return await _page(request, session, api, values, dict(zip(SIDES, answers, strict=True)))


@router.post("/stream/{side}")
async def stream_one(
    request: Request, session: SignedIn, api: SessionApi, side: Side, fields: CheckedForm
) -> Response:
    """The API's own stream of server-sent events, or its problem document."""
    values = _DEFAULTS | texts(fields)
    models = await _names(api, values["model"])
    body = request_body(values, models[side]) | {"stream": True}
    return Forwarded(request, session, _ROUTE, body=json.dumps(body).encode())


def request_body(values: Mapping[str, str], model: str) -> dict[str, Any]:
    """Numbers that were left empty are left out."""
    numbers = {name: number_of(values[name]) for name in _NUMBERS if values[name].strip()}
    return {
        "model": model,
        "messages": [{"role": "user", "content": values["prompt"]}],
        **numbers,
    }


async def _names(api: Api, model_id: str) -> dict[Side, str]:
    """What the API calls the two: the initial model goes by its base model's name.

    Raises Refused for what is no tuned model's id: it would be part of the address asked.
    """
    if not _is_model_id(model_id):
        raise Refused(_no_model(model_id))
    model = await api.get(Model, f"/v1/models/{model_id}")
    return {"initial": model.base_model, "tuned": model.id}


def _is_model_id(text: str) -> bool:
    try:
        _MODEL_ID.validate_python(text)
    except ValidationError:
        return False
    return True


def _no_model(text: str) -> Problem:
    return Problem(
        title=HTTPStatus.NOT_FOUND.phrase,
        status=HTTPStatus.NOT_FOUND,
        detail=f"there is no tuned model {text!r}: choose a round",
        code="not_found",
        param="model",
    )


async def _ask(api: Api, body: dict[str, Any]) -> Answered:
    try:
        answer = await api.post(ChatCompletion, _ROUTE, body)
    except Refused as refused:
        return Answered(None, refused.problem)
    choice = answer.choices[0]
    return Answered(choice.message.content, is_cut=choice.finish_reason == "length")


async def _page(
    request: Request,
    session: Session,
    api: Api,
    values: Mapping[str, str],
    answers: Mapping[Side, Answered],
) -> Response:
    models = await api.get(ListPage[Model], "/v1/models", limit=_MOST)
    rounds = await round_names(api, {model.round_id for model in models.data})
    found = next((each.problem for each in answers.values() if each.problem), None)
    return render(
        request,
        "playground.html",
        session,
        200 if found is None else found.status,
        models=models.data,
        rounds=rounds,
        values=values,
        sides=SIDES,
        answers=answers,
        problem=found,
        wrong_field=_FIELDS.get(found.param or "") if found else None,
    )
