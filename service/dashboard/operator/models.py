"""The tuned models of all settled rounds."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.models import Model
from service.dashboard.api import SessionApi
from service.dashboard.pages import render
from service.dashboard.sessions import PATH, SignedIn

router = APIRouter()


@router.get(f"{PATH}/models")
async def list_models(
    request: Request, session: SignedIn, api: SessionApi, after: str | None = None
) -> Response:
    found = await api.get(ListPage[Model], "/v1/models", after=after, limit=25)
    return render(request, "operator/models.html", session, models=found)
