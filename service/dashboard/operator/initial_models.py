"""Initial models: corpora made of documents, base models fine-tuned on them, and evaluations."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.corpora import Corpus, PromptHistory
from api_schemas.evaluations import EvaluatedModel, Evaluation
from api_schemas.fine_tuned_models import FineTunedBaseModel, LossPoint
from api_schemas.jobs import Job
from api_schemas.language_models import Budget, LanguageModelSpec, Spent
from service.dashboard.api import Api, SessionApi
from service.dashboard.forwarding import Forwarded
from service.dashboard.operator.jobs import UNFINISHED
from service.dashboard.pages import load_again, render
from service.dashboard.sessions import PATH, SignedIn

_AT = f"{PATH}/initial-models"
_MOST = 25

router = APIRouter(prefix=_AT)
drawings = APIRouter(prefix=_AT)


@router.get("")
async def list_initial_models(request: Request, session: SignedIn, api: SessionApi) -> Response:
    """The newest of each; all are in the API's lists."""
    return render(
        request,
        "operator/initial_models.html",
        session,
        corpora=await api.get(ListPage[Corpus], "/v1/corpora", limit=_MOST),
        base_models=await api.get(ListPage[FineTunedBaseModel], "/v1/base-models", limit=_MOST),
        evaluations=await api.get(ListPage[Evaluation], "/v1/evaluations", limit=_MOST),
    )


@router.get("/corpora/{corpus_id}")
async def show_corpus(
    request: Request, session: SignedIn, api: SessionApi, corpus_id: str
) -> Response:
    found = await api.get(Corpus, f"/v1/corpora/{corpus_id}")
    named = {"Teacher": [found.settings.teacher], "Generators": found.settings.generators}
    optimization = found.settings.prompt_optimization
    if optimization is not None:
        named["Judge"] = [optimization.judge]
    return render(
        request,
        "operator/corpus.html",
        session,
        corpus=found,
        job=await _job(api, found.job_id),
        models={role: ", ".join(map(_model_text, specs)) for role, specs in named.items()},
        spending=_spending(found.spent or Spent(), found.settings.budget),
        history=await _history(api, found),
    )


@router.get("/corpora/{corpus_id}/live")
async def show_spending(
    request: Request, session: SignedIn, api: SessionApi, corpus_id: str
) -> Response:
    """The part of the corpus's page that is polled; once it has ended, all of it is loaded again,
    and polls no more."""
    found = await api.get(Corpus, f"/v1/corpora/{corpus_id}")
    job = await _job(api, found.job_id)
    if job.status not in UNFINISHED:
        return load_again()
    spending = _spending(found.spent or Spent(), found.settings.budget)
    return render(request, "operator/corpus_live.html", session, job=job, spending=spending)


@router.get("/base-models/{base_model_id}")
async def show_base_model(
    request: Request, session: SignedIn, api: SessionApi, base_model_id: str
) -> Response:
    found = await api.get(FineTunedBaseModel, f"/v1/base-models/{base_model_id}")
    return render(
        request,
        "operator/base_model.html",
        session,
        base_model=found,
        job=await _job(api, found.job_id),
        losses=_losses(found.result.curve) if found.result else None,
    )


@router.get("/evaluations/{evaluation_id}")
async def show_evaluation(
    request: Request, session: SignedIn, api: SessionApi, evaluation_id: str
) -> Response:
    found = await api.get(Evaluation, f"/v1/evaluations/{evaluation_id}")
    rows = found.result.rows if found.result else []
    return render(
        request,
        "operator/evaluation.html",
        session,
        evaluation=found,
        job=await _job(api, found.job_id),
        models=[_evaluated_text(each) for each in found.settings.models],
        rows=[(_evaluated_text(row.model), row) for row in rows],
    )


@drawings.get("/corpora/{corpus_id}/plot.svg")
def draw_prompts(request: Request, session: SignedIn, corpus_id: str) -> Response:
    return Forwarded(request, session, f"/v1/corpora/{corpus_id}/plot")


@drawings.get("/corpora/{corpus_id}/{part}.jsonl")
def download_corpus(request: Request, session: SignedIn, corpus_id: str, part: str) -> Response:
    return Forwarded(request, session, f"/v1/corpora/{corpus_id}/{part}")


@drawings.get("/evaluations/{evaluation_id}/{part}.jsonl")
def download_evaluation(
    request: Request, session: SignedIn, evaluation_id: str, part: str
) -> Response:
    return Forwarded(request, session, f"/v1/evaluations/{evaluation_id}/{part}")


@drawings.get("/base-models/{base_model_id}/checkpoints/{step}/{name}")
def download_checkpoint(
    request: Request, session: SignedIn, base_model_id: str, step: int, name: str
) -> Response:
    return Forwarded(request, session, f"/v1/base-models/{base_model_id}/checkpoints/{step}/{name}")


async def _job(api: Api, job_id: str) -> Job:
    return await api.get(Job, f"/v1/jobs/{job_id}")


async def _history(api: Api, corpus: Corpus) -> PromptHistory | None:
    if corpus.result is None or corpus.result.optimization is None:
        return None
    return await api.get(PromptHistory, f"/v1/corpora/{corpus.id}/history")


def _spending(spent: Spent, budget: Budget) -> Mapping[str, Any]:
    return {
        "spent": spent,
        "tokens": spent.prompt_tokens + spent.completion_tokens,
        "budget": budget,
        "currency": spent.currency or "",
    }


def _losses(curve: Sequence[LossPoint]) -> Mapping[str, Any]:
    """As the chart takes them, in nats an answer's token."""
    return {
        "x": [point.step for point in curve],
        "series": [
            {"label": "training", "values": [point.train_loss for point in curve]},
            {"label": "held out", "values": [point.holdout_loss for point in curve]},
        ],
    }


def _model_text(spec: LanguageModelSpec) -> str:
    if spec.type == "local":
        return spec.base_model
    return f"{spec.model} at {spec.endpoint}"


def _evaluated_text(model: EvaluatedModel) -> str:
    return model.base_model if model.type == "base_model" else model.model_id
