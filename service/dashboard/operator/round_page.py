"""A round as its operator sees it, in every state. It asks for no report: nobody's is told."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.errors import Problem
from api_schemas.jobs import Job
from api_schemas.quotes import Quote
from api_schemas.rounds import Announcement, Round
from service.dashboard.api import Api
from service.dashboard.forms import new_idempotency_key
from service.dashboard.pages import render
from service.dashboard.sessions import Session

UNSTARTED = frozenset({"draft", "open"})
MEANINGS: Mapping[str, str] = {
    "draft": "Nobody but you sees this draft. Once it is open, its announcement never changes.",
    "open": "Groups report. Until the close nobody can tell who did, or how many.",
    "closed": "Reports have ended; the job waits for a coordinator.",
    "running": "The job trains and values the worlds.",
    "settled": "The model is there, payments are computed, and groups are invoiced.",
    "failed": "The round came to no result; nobody is invoiced.",
    "cancelled": "The round was given up for good; nobody is invoiced.",
}


async def show(
    request: Request,
    session: Session,
    api: Api,
    round_id: str,
    problem: Problem | None = None,
    values: Mapping[str, str] | None = None,
) -> Response:
    """With a `problem` after a deed that was refused; `values` are those of the quote's form."""
    found = await api.get(Round, f"/v1/rounds/{round_id}")
    job = await api.get(Job, f"/v1/jobs/{found.job_id}") if found.job_id else None
    return render(
        request,
        "operator/round.html",
        session,
        HTTPStatus.OK if problem is None else problem.status,
        round=found,
        job=job,
        meaning=MEANINGS[found.state],
        announced=announced_lines(found.announcement),
        quotes=await _quotes(api, found),
        problem=problem,
        values=values or {"groups": "", "price_per_device_hour_micro_units": ""},
        idempotency_key=new_idempotency_key(),
    )


def announced_lines(announced: Announcement) -> list[tuple[str, Any]]:
    """All of an announcement, one line a value, named as in its JSON."""
    return list(_leaves("", announced.model_dump(mode="json")))


def _leaves(path: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [
        leaf
        for name, inner in value.items()
        for leaf in _leaves(f"{path}.{name}" if path else name, inner)
    ]


async def _quotes(api: Api, found: Round) -> list[Quote]:
    """The newest with its figures, and a few before; of a round that has not run yet."""
    if found.state not in UNSTARTED:
        return []
    listed = await api.get(ListPage[Quote], f"/v1/rounds/{found.id}/quotes", limit=3)
    return [await api.get(Quote, f"/v1/quotes/{quote.id}") for quote in listed.data]
