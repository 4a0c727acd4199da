"""Reward models that a group makes ahead of a round, from preferences, with their report cards."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.errors import Problem
from api_schemas.files import File
from api_schemas.ids import RewardModelId
from api_schemas.jobs import Job
from api_schemas.reward_models import RewardModel
from service.dashboard.api import Api, Refused, SessionApi
from service.dashboard.forms import (
    FieldProblem,
    new_idempotency_key,
    next_idempotency_key,
    texts,
)
from service.dashboard.forwarding import Forwarded
from service.dashboard.group.report_card import card_tables
from service.dashboard.pages import STOP_POLLING, go_to, is_fragment, render
from service.dashboard.sessions import PATH, CheckedForm, Session, SignedIn

router = APIRouter(prefix=f"{PATH}/reward-models")
METHODS: Mapping[str, str] = {
    "embedding": "On sentence embeddings: minutes, a good start",
    "tfidf_bradley_terry": "On words and word pairs: seconds, coarse",
    "ensemble": "Several on embeddings: their disagreement is told",
    "pairwise_calibrated": "A mixture that matches shares of votes",
    "bradley_terry": "Fine-tuned language model: many minutes",
    "weight_averaged": "Several fine-tunes, averaged: the longest",
}
_FIELDS = {"name": "name", "method": "reward_model.method.name", "file_id": "reward_model.file_id"}
_MOST = 100


@router.get("")
async def list_reward_models(
    request: Request, session: SignedIn, api: SessionApi, after: str | None = None
) -> Response:
    return await _page(request, session, api, {}, new_idempotency_key(), after=after)


@router.post("")
async def make_reward_model(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm
) -> Response:
    """A file that came along stays chosen where the rest is refused: it need not come twice."""
    values = texts(form)
    try:
        values["file_id"] = await _preferences(api, form)
        made = await api.post(
            RewardModel, "/v1/reward-models", request_body(values), values.get("idempotency_key")
        )
    except (Refused, FieldProblem) as error:
        problem = _of_the_form(error.problem)
        key = next_idempotency_key(values, problem)
        return await _page(request, session, api, values, key, problem=problem)
    return go_to(f"{PATH}/reward-models/{made.id}")


@router.get("/{reward_model_id}")
async def show_reward_model(
    request: Request, session: SignedIn, api: SessionApi, reward_model_id: RewardModelId
) -> Response:
    made = await api.get(RewardModel, f"/v1/reward-models/{reward_model_id}")
    job = await api.get(Job, f"/v1/jobs/{made.job_id}")
    pending = made.status in ("queued", "running")
    parts = "group/reward_model_part.html", "group/reward_model.html"
    status = STOP_POLLING if is_fragment(request) and not pending else 200
    template = parts[0] if is_fragment(request) else parts[1]
    return render(
        request,
        template,
        session,
        status,
        reward_model=made,
        job=job,
        pending=pending,
        tables=list(card_tables(made.report_card)) if made.report_card else [],
    )


@router.get("/{reward_model_id}/report_card.svg")
def draw_report_card(
    request: Request, session: SignedIn, reward_model_id: RewardModelId
) -> Response:
    return Forwarded(request, session, f"/v1/reward-models/{reward_model_id}/report_card.svg")


@router.get("/{reward_model_id}/content")
async def download_reward_model(
    request: Request, session: SignedIn, api: SessionApi, reward_model_id: RewardModelId
) -> Response:
    await api.get(RewardModel, f"/v1/reward-models/{reward_model_id}")
    return Forwarded(request, session, f"/v1/reward-models/{reward_model_id}/content")


def request_body(values: Mapping[str, str]) -> dict[str, object]:
    """With the method's own settings as they are by default."""
    method = {"name": values.get("method", "")}
    spec = {"type": "preference_data", "file_id": values["file_id"], "method": method}
    return {"name": values.get("name", ""), "reward_model": spec}


async def _preferences(api: Api, form: FormData) -> str:
    """The id of the file that was chosen, or of one that came with the form."""
    upload = form.get("upload")
    if not isinstance(upload, UploadFile) or not upload.filename:
        if chosen := texts(form).get("file_id"):
            return chosen
        raise FieldProblem("upload", "choose a file of preferences, here or below")
    sent = {"file": (upload.filename, upload.file, "application/octet-stream")}
    try:
        body = await api.send("POST", "/v1/files", data={"purpose": "preferences"}, files=sent)
    except Refused as refused:
        raise FieldProblem("upload", refused.problem.detail) from None
    return File.model_validate_json(body).id


def _of_the_form(problem: Problem) -> Problem:
    """The API's `param` as the form names its field."""
    for field, param in _FIELDS.items():
        if problem.param is not None and param.startswith(problem.param):
            return problem.model_copy(update={"param": field})
    return problem


async def _page(
    request: Request,
    session: Session,
    api: Api,
    values: Mapping[str, str],
    idempotency_key: str,
    *,
    after: str | None = None,
    problem: Problem | None = None,
) -> Response:
    found = await api.get(ListPage[RewardModel], "/v1/reward-models", after=after, limit=25)
    files = await api.get(ListPage[File], "/v1/files", limit=_MOST)
    return render(
        request,
        "group/reward_models.html",
        session,
        200 if problem is None else problem.status,
        reward_models=found,
        files=[file for file in files.data if file.purpose == "preferences"],
        values=values,
        methods=METHODS,
        problem=problem,
        fields=(*_FIELDS, "upload"),
        idempotency_key=idempotency_key,
    )
