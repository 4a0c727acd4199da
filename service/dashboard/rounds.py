"""The list of rounds, the operator's and a group's first page, and one round, as each sees it."""

from typing import get_args

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.rounds import Round, RoundState
from service.dashboard.api import SessionApi
from service.dashboard.group import round_page as group_page
from service.dashboard.operator import round_form, round_page
from service.dashboard.pages import render
from service.dashboard.sessions import PATH, SignedIn

router = APIRouter()
router.include_router(round_form.router)  # before the path that any word fits


@router.get(f"{PATH}/rounds")
async def list_rounds(
    request: Request,
    session: SignedIn,
    api: SessionApi,
    after: str | None = None,
    state: str | None = None,
) -> Response:
    found = await api.get(ListPage[Round], "/v1/rounds", after=after, state=state or None, limit=25)
    return render(
        request, "rounds.html", session, rounds=found, state=state, states=get_args(RoundState)
    )


@router.get(f"{PATH}/rounds/{{round_id}}")
async def show_round(
    request: Request, session: SignedIn, api: SessionApi, round_id: str
) -> Response:
    """One address for both, so that a link in a message leads everyone to what they may see."""
    show = round_page.show if session.is_operator else group_page.show
    return await show(request, session, api, round_id)
