"""What the operator does with a round: open, close, cancel."""

from typing import Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.rounds import Round
from service.dashboard.api import Api, Refused, SessionApi
from service.dashboard.operator import round_page
from service.dashboard.pages import go_to
from service.dashboard.sessions import PATH, CheckedForm, Session, SignedIn

router = APIRouter()


@router.post(f"{PATH}/rounds/{{round_id}}/open")
async def open_round(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm, round_id: str
) -> Response:
    return await _do(request, session, api, round_id, "open")


@router.post(f"{PATH}/rounds/{{round_id}}/close")
async def close_round(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm, round_id: str
) -> Response:
    return await _do(request, session, api, round_id, "close")


@router.post(f"{PATH}/rounds/{{round_id}}/cancel")
async def cancel_round(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm, round_id: str
) -> Response:
    return await _do(request, session, api, round_id, "cancel")


async def _do(
    request: Request,
    session: Session,
    api: Api,
    round_id: str,
    deed: Literal["open", "close", "cancel"],
) -> Response:
    """A deed that is refused shows the round as it is by now, with the reason."""
    try:
        await api.post(Round, f"/v1/rounds/{round_id}/{deed}")
    except Refused as refused:
        if refused.problem.status != 409:
            raise
        return await round_page.show(request, session, api, round_id, refused.problem)
    return go_to(f"{PATH}/rounds/{round_id}")
