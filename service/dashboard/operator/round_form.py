"""The form that announces a round."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.errors import Problem
from api_schemas.files import File
from api_schemas.fine_tuned_models import FineTunedBaseModel
from api_schemas.rounds import Round
from api_schemas.training import (
    AdapterTraining,
    NaturalGradient,
    PolicyGradient,
    PoolGradient,
    RewardedSoups,
)
from service.dashboard.api import Api, Refused, SessionApi
from service.dashboard.forms import (
    FieldProblem,
    micro_units_of,
    moment_of,
    nested,
    new_idempotency_key,
    next_idempotency_key,
    number_of,
    texts,
)
from service.dashboard.operator import round_fields
from service.dashboard.operator.access import WritingOperator
from service.dashboard.operator.round_fields import Field
from service.dashboard.pages import go_to, moment, render
from service.dashboard.sessions import PATH, CheckedForm, Session, SignedIn
from service.dependencies import State

router = APIRouter()
_SINGLE: Mapping[str, type[AdapterTraining]] = {
    "policy_gradient": PolicyGradient,
    "pool_gradient": PoolGradient,
    "natural_gradient": NaturalGradient,
}


@router.get(f"{PATH}/rounds/new")
async def show_form(
    request: Request, session: WritingOperator, api: SessionApi, state: State
) -> Response:
    values = round_fields.defaults()
    return await _show(request, session, api, state, values, new_idempotency_key(), None)


@router.post(f"{PATH}/rounds/new")
async def announce(
    request: Request, session: SignedIn, api: SessionApi, state: State, form: CheckedForm
) -> Response:
    values = round_fields.defaults() | texts(form)
    try:
        values["prompts_file_id"] = await _prompts(api, form)
        made = await api.post(
            Round, "/v1/rounds", announcement_of(values), values.get("idempotency_key")
        )
    except (Refused, FieldProblem) as refused:
        problem = _of_the_form(refused.problem)
        key = next_idempotency_key(values, problem)
        return await _show(request, session, api, state, values, key, problem)
    return go_to(f"{PATH}/rounds/{made.id}")


def announcement_of(values: Mapping[str, str]) -> dict[str, Any]:
    """The body that the API is sent. Raises FieldProblem."""
    flat: dict[str, Any] = {"prompts_file_id": values.get("prompts_file_id", "")}
    for field in round_fields.fields():
        text = values.get(field.name, "").strip()
        if text:
            flat[field.name] = _value(field, values)
        elif field.required and field.kind == "text":
            flat[field.name] = text
        elif field.blank_is_null:
            flat[field.name] = None
    body = nested(flat)
    body["training"] = training_of(body.get("training", {}))
    return body


def training_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the chosen method alone; those of soups hold another method's."""
    method = given.get("method", "policy_gradient")
    if method == "rewarded_soups":
        single = training_of({**given, "method": given.get("single", {}).get("method")})
        own = set(RewardedSoups.model_fields) - {"single"}
        return {"single": single} | {name: given[name] for name in own & set(given)}
    names = set(_SINGLE.get(method, PolicyGradient).model_fields)
    found = {name: value for name, value in given.items() if name in names}
    if "every" not in found.get("elastic_reset", {}):
        found.pop("elastic_reset", None)
    return found | {"method": method}


def _value(field: Field, values: Mapping[str, str]) -> Any:
    text = values[field.name].strip()
    if field.kind == "money":
        return micro_units_of(values, field.name)
    if field.kind == "moment":
        return moment_of(text)
    return number_of(text) if field.kind == "number" else text


async def _prompts(api: Api, form: FormData) -> str:
    """The id of the file that was chosen, or of one that came with the form."""
    upload = form.get("prompts_upload")
    if not isinstance(upload, UploadFile) or not upload.filename:
        return str(form.get("prompts_file_id") or "")
    sent = {"file": (upload.filename, upload.file, "application/octet-stream")}
    try:
        body = await api.send("POST", "/v1/files", data={"purpose": "prompts"}, files=sent)
    except Refused as refused:
        raise FieldProblem("prompts_file_id", refused.problem.detail) from None
    return File.model_validate_json(body).id


def _of_the_form(problem: Problem) -> Problem:
    """The API's `param` as the form names its field: soups hold their gradient's fields deeper."""
    if problem.param is None or not problem.param.startswith("training.single."):
        return problem
    inner = problem.param.removeprefix("training.single.")
    name = "training.single.method" if inner == "method" else f"training.{inner}"
    return problem.model_copy(update={"param": name})


async def _made_here(api: Api) -> list[str]:
    """The newest base models that rounds may start from beside those listed in the settings."""
    found = await api.get(ListPage[FineTunedBaseModel], "/v1/base-models", limit=100)
    return [each.id for each in found.data if each.result is not None]


def _choices(files: list[File]) -> list[tuple[str, str]]:
    return [
        (file.id, f"{file.filename}, {file.lines} prompts, of {moment(file.created_at)}")
        for file in files
        if file.purpose == "prompts"
    ]


async def _show(
    request: Request,
    session: Session,
    api: Api,
    state: State,
    values: Mapping[str, str],
    idempotency_key: str,
    problem: Problem | None,
) -> Response:
    files = await api.get(ListPage[File], "/v1/files", limit=100)
    return render(
        request,
        "operator/round_form.html",
        session,
        HTTPStatus.OK if problem is None else problem.status,
        values=values,
        problem=problem,
        known=[field.name for field in round_fields.fields()] + ["prompts_file_id"],
        usual=round_fields.USUAL,
        advanced=round_fields.ADVANCED,
        files=[("", "none: upload one"), *_choices(files.data)],
        base_models=[*state.settings.base_model_names, *await _made_here(api)],
        idempotency_key=idempotency_key,
    )
