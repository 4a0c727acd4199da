"""The list of rounds, the operator's and a group's first page."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.rounds import Round
from service.dashboard.api import SessionApi
from service.dashboard.pages import render
from service.dashboard.sessions import PATH, SignedIn

router = APIRouter()


@router.get(f"{PATH}/rounds")
async def list_rounds(
    request: Request, session: SignedIn, api: SessionApi, after: str | None = None
) -> Response:
    found = await api.get(ListPage[Round], "/v1/rounds", after=after, limit=25)
    return render(request, "rounds.html", session, rounds=found)
