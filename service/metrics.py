"""Prometheus metrics: requests and their latency, by route template, and the database's figures.

Reports, uploads, reward models and single jobs are not measured: counts of their successes would
tell, before the close, how many groups reported, or were about to. Whoever reads without a key is
told of rounds what any group is; the operator's key shows more, and none shows what is sealed.
"""

import time
from collections.abc import Callable, Mapping
from http import HTTPMethod
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials
from fastapi.security.utils import get_authorization_scheme_param
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth import principal_of
from service.dependencies import AppState, State
from service.errors import problem_responses
from service.operations.figures import OperationsMetrics

UNMEASURED = frozenset(
    {
        "/v1/rounds/{round_id}/report",
        "/v1/rounds/{round_id}/report/preview",
        "/v1/rounds/{round_id}/report/previews",
        "/v1/report-previews/{preview_id}",
        "/v1/files",
        "/v1/files/{file_id}",
        "/v1/reward-models",
        "/v1/reward-models/{reward_model_id}",
        "/v1/reward-models/{reward_model_id}/content",
        "/v1/reward-models/{reward_model_id}/report_card.svg",
        "/v1/reward-models/{reward_model_id}/rerankings",
        "/v1/rerankings/{reranking_id}",
        "/v1/jobs/{job_id}",
        "/v1/jobs/{job_id}/events",
        "/v1/jobs/{job_id}/events/stream",
        "/v1/jobs/{job_id}/cancel",
        "/v1/jobs/{job_id}/retry",
    }
)
_DASHBOARD = "/dashboard"
"""What its pages ask of the API is measured there, by the same rules."""

UNMATCHED = "unmatched"

router = APIRouter()


class RequestMetrics:
    """One registry an application, so that two in one process don't mix their counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.operations = OperationsMetrics()
        self._requests = Counter(
            "truthtune_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "truthtune_http_request_seconds",
            "Time from a request to the end of its response, in seconds.",
            ["method", "route"],
            registry=self.registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


def route_templates(app: FastAPI) -> dict[Callable[..., Any], str]:
    """Whole paths by endpoint; the route in a request's scope lacks the prefix of its router."""
    return {
        route.endpoint: route.path
        for route in iter_route_contexts(app.routes)
        if route.endpoint is not None and route.path is not None
    }


def is_measured(route: str) -> bool:
    return route not in UNMEASURED and not route.startswith(_DASHBOARD)


class Measured:
    """Middleware that tells `metrics` of every request to a route that may be measured."""

    def __init__(
        self, app: ASGIApp, metrics: RequestMetrics, templates: Mapping[Callable[..., Any], str]
    ):
        self.app = app
        self.metrics = metrics
        self.templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            endpoint = scope.get("endpoint")
            route = self.templates.get(endpoint, UNMATCHED) if endpoint else UNMATCHED
            if is_measured(route):
                # Any text may be a method: each would make a series of its own for ever.
                method = scope["method"]
                if route == UNMATCHED or method not in HTTPMethod.__members__:
                    method = UNMATCHED
                self.metrics.observe(method, route, status, time.perf_counter() - started)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    tags=["health"],
    response_class=Response,
    responses=problem_responses(401, 429)
    | {200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}},
)
def read_metrics(request: Request, state: State) -> Response:
    """Requests by route, rounds by state, the queue, and how long stages take, in Prometheus's text
    format. Needs no key, and tells nothing of reports. The operator's key, also one of access
    `read`, shows more: audits and quotes, tokens, failed attempts, webhooks, and the welfare of the
    round settled last."""
    metrics: RequestMetrics = request.app.state.metrics
    figures = metrics.operations.text(state.database, for_operator=_asks_operator(request, state))
    return Response(generate_latest(metrics.registry) + figures, media_type=CONTENT_TYPE_LATEST)


def _asks_operator(request: Request, state: AppState) -> bool:
    """Raises NotAuthenticated for a key that is none, so that a scrape set up wrongly is seen."""
    scheme, credentials = get_authorization_scheme_param(request.headers.get("authorization"))
    if not credentials:
        return False
    sent = HTTPAuthorizationCredentials(scheme=scheme, credentials=credentials)
    return principal_of(request, state, sent).is_operator
