"""Pages from templates: what all of them are given, how figures are written, how failures look."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api_schemas.errors import Problem, TruthtuneError
from service.dashboard.api import Refused
from service.dashboard.sessions import PATH, Session, SignInNeeded, find_session

FOLDER = Path(__file__).parent
_MICRO = 1_000_000
_KEPT = {"retry-after", "connection", "x-should-retry"}
"""Of an API's refusal, on the page that tells it."""

STOP_POLLING = 286
"""htmx's own status: it takes this answer, and asks no more."""

_environment = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(
    request: Request,
    template: str,
    session: Session | None,
    status: int = HTTPStatus.OK,
    **context: Any,
) -> HTMLResponse:
    """Nobody's cache keeps a page: the next person at this machine may be another."""
    page = _environment.get_template(template).render(
        session=session, path=request.url.path, **context
    )
    return HTMLResponse(page, status, headers={"Cache-Control": "no-store"})


def go_to(path: str) -> RedirectResponse:
    """After a POST: a reload then repeats nothing."""
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def is_fragment(request: Request) -> bool:
    """Whether htmx asks, for a part of a page that stands already."""
    return "HX-Request" in request.headers


def load_again() -> Response:
    """In place of a polled part that has ended: the whole page is loaded, and polls no more."""
    return Response(status_code=STOP_POLLING, headers={"HX-Refresh": "true"})


def install(app: FastAPI) -> None:
    """After the API's own handlers, which go on answering for the API."""
    for kind in (TruthtuneError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _as_page(app.exception_handlers[kind]))
    app.add_exception_handler(SignInNeeded, _sign_in)
    app.add_exception_handler(Refused, _refused)


def _as_page(handler: Callable[[Request, Any], Any]) -> Callable[[Request, Any], Any]:
    """What the API would answer; to a browser on the dashboard, as a page."""

    async def answer(request: Request, error: Exception) -> Response:
        response: Response = await handler(request, error)
        if not request.url.path.startswith(f"{PATH}/"):
            return response
        problem = Problem.model_validate_json(bytes(response.body))
        page = await _refused(request, Refused(problem))
        page.headers.update({name: response.headers[name] for name in _KEPT & {*response.headers}})
        return page

    return answer


async def _sign_in(request: Request, error: Exception) -> Response:
    to = f"{PATH}/sign-in?next={quote(_place(request))}"
    if is_fragment(request):
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": to})
    return go_to(to)


def _place(request: Request) -> str:
    """Where to come back to, with its query: of a part of a page, the page that shows it."""
    if request.method != "GET":
        return PATH
    shown = urlsplit(request.headers.get("HX-Current-URL", str(request.url)))
    return f"{shown.path}?{shown.query}" if shown.query else shown.path


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    problem = error.problem
    session = find_session(request, request.app.state.truthtune.vault)
    return render(request, "refused.html", session, problem.status, problem=problem)


def money(micro_units: int | None, currency: str = "") -> str:
    """`1,234.56 EUR`: exact, with as many of six decimals as it has, at least two."""
    if micro_units is None:
        return "–"
    whole, rest = divmod(abs(micro_units), _MICRO)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    sign = "−" if micro_units < 0 else ""
    return f"{sign}{whole:,}.{decimals} {currency}".rstrip()


def number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def moment(at: datetime | None) -> str:
    """In UTC; pages show it in a `<time>` with the whole of it."""
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def short_digest(digest: str | None) -> str:
    return "–" if digest is None else f"{digest.removeprefix('sha256:')[:12]}…"


def duration(seconds: float | None) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


_environment.filters.update(
    duration=duration, money=money, moment=moment, number=number, short_digest=short_digest
)
