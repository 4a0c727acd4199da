"""What a round would take: asked for on its page, and looked at until its job has ended."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.quotes import Quote
from service.dashboard.api import Refused, SessionApi
from service.dashboard.forms import FieldProblem, micro_units_of, number_of, texts
from service.dashboard.operator import round_page
from service.dashboard.operator.jobs import UNFINISHED
from service.dashboard.pages import STOP_POLLING, go_to, render
from service.dashboard.sessions import PATH, CheckedForm, SignedIn

router = APIRouter()

_PRICE = "price_per_device_hour_micro_units"


@router.post(f"{PATH}/rounds/{{round_id}}/quotes")
async def ask_for_quote(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm, round_id: str
) -> Response:
    values = {"groups": "", _PRICE: ""} | texts(form)
    try:
        body = {
            "groups": number_of(values["groups"]) if values["groups"] else None,
            _PRICE: micro_units_of(values, _PRICE) if values[_PRICE] else None,
        }
        key = values.get("idempotency_key")
        await api.post(Quote, f"/v1/rounds/{round_id}/quote", body, key)
    except (Refused, FieldProblem) as refused:
        problem = refused.problem
        return await round_page.show(request, session, api, round_id, problem, values)
    return go_to(f"{PATH}/rounds/{round_id}#quote")


@router.get(f"{PATH}/quotes/{{quote_id}}/live")
async def show_quote(
    request: Request, session: SignedIn, api: SessionApi, quote_id: str
) -> Response:
    """The part of the round's page that is polled; what has ended needs no further look."""
    quote = await api.get(Quote, f"/v1/quotes/{quote_id}")
    status = HTTPStatus.OK if quote.status in UNFINISHED else STOP_POLLING
    return render(request, "operator/quote.html", session, status, quote=quote)
