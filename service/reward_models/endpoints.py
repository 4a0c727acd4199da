"""Routes of reward models that are made ahead of a round, and of reranking with them."""

from fastapi import Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.ids import RerankingId, RewardModelId
from api_schemas.reward_models import Reranking, RerankingCreate, RewardModel, RewardModelCreate
from service import quotas
from service.auth import CurrentPrincipal
from service.bodies import StrictRoute
from service.dependencies import ReadSession, State
from service.downloads import (
    DOWNLOAD_RESPONSES,
    DRAWING_RESPONSES,
    drawing_response,
    stored_response,
)
from service.errors import problem_responses
from service.idempotency import Idempotent
from service.pages import Page
from service.reward_models import repository
from service.reward_models.requesting import Pinned, request_reranking, request_reward_model
from service.routing import Router

router = Router(tags=["reward models"], route_class=StrictRoute)


@router.post(
    "/reward-models",
    status_code=201,
    summary="Make a reward model",
    responses=problem_responses(404),
)
def create_reward_model(
    principal: CurrentPrincipal,
    body: RewardModelCreate,
    pinned: Pinned,
    idempotent: Idempotent,
    state: State,
) -> RewardModel:
    """Queues a job that fits a reward model and measures it, ahead of any round; a report may then
    name it. Nobody but you sees it, its job or what it is made from."""
    session = idempotent.session

    def work() -> RewardModel:
        quotas.require_job(session, state.settings, principal.owner_id)
        return request_reward_model(session, principal, body, pinned)

    return idempotent.run(body.model_dump(mode="json"), RewardModel, work)


@router.get("/reward-models", summary="List your reward models")
def list_reward_models(
    principal: CurrentPrincipal, session: ReadSession, page: Page
) -> ListPage[RewardModel]:
    """The reward models that you asked for, newest first."""
    return repository.list_reward_models(session, principal, page)


@router.get(
    "/reward-models/{reward_model_id}",
    summary="Show a reward model",
    responses=problem_responses(404),
)
def get_reward_model(
    reward_model_id: RewardModelId, principal: CurrentPrincipal, session: ReadSession
) -> RewardModel:
    """A reward model of yours and, once its job has succeeded, its report card."""
    return repository.get_reward_model(session, principal, reward_model_id)


@router.get(
    "/reward-models/{reward_model_id}/report_card.svg",
    summary="Draw a report card",
    response_class=Response,
    responses=DRAWING_RESPONSES | problem_responses(404, 409, 416),
)
def get_report_card(
    reward_model_id: RewardModelId, request: Request, principal: CurrentPrincipal, state: State
) -> Response:
    """The report card on one page, as SVG; a Conflict until the reward model's job has succeeded,
    and 404 if there was no data to measure it on."""
    with state.database.read() as session:
        drawing = repository.get_fitted(session, principal, reward_model_id).plot_sha256
    if drawing is None:
        raise NotFound(
            f"reward model {reward_model_id} has no report card: it is fitted to nothing, and no "
            "evaluation_file_id was given"
        )
    return drawing_response(request, state.artifacts, drawing, f"{reward_model_id}.svg")


@router.get(
    "/reward-models/{reward_model_id}/content",
    summary="Download a reward model",
    response_class=Response,
    responses=DOWNLOAD_RESPONSES | problem_responses(404, 409, 416),
)
def get_reward_model_content(
    reward_model_id: RewardModelId, request: Request, principal: CurrentPrincipal, state: State
) -> Response:
    """The fitted model: a line of JSON with `format`, `method` and `report_card`, then the method's
    own bytes, JSON or safetensors. A Conflict until its job has succeeded."""
    with state.database.read() as session:
        digest = repository.get_fitted(session, principal, reward_model_id).model
    return stored_response(request, state.artifacts, digest, f"{reward_model_id}.model")


@router.post(
    "/reward-models/{reward_model_id}/rerankings",
    status_code=201,
    summary="Rerank responses",
    responses=problem_responses(404, 409),
)
def create_reranking(
    reward_model_id: RewardModelId,
    principal: CurrentPrincipal,
    body: RerankingCreate,
    idempotent: Idempotent,
    state: State,
) -> Reranking:
    """Queues a job that scores each prompt's responses and puts the best first (best-of-n); a
    Conflict until the reward model's own job has succeeded."""
    session = idempotent.session

    def work() -> Reranking:
        quotas.require_job(session, state.settings, principal.owner_id)
        return request_reranking(session, principal, reward_model_id, body)

    return idempotent.run(body.model_dump(mode="json"), Reranking, work)


@router.get(
    "/reward-models/{reward_model_id}/rerankings",
    summary="List a reward model's rerankings",
    responses=problem_responses(404),
)
def list_rerankings(
    reward_model_id: RewardModelId,
    principal: CurrentPrincipal,
    session: ReadSession,
    page: Page,
) -> ListPage[Reranking]:
    """Newest first, without their results."""
    return repository.list_rerankings(session, principal, reward_model_id, page)


@router.get(
    "/rerankings/{reranking_id}", summary="Show a reranking", responses=problem_responses(404)
)
def get_reranking(
    reranking_id: RerankingId, principal: CurrentPrincipal, session: ReadSession
) -> Reranking:
    """A reranking and, once its job has succeeded, the order and the scores of the responses."""
    return repository.get_reranking(session, principal, reranking_id)
