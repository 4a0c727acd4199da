"""Traces of the service: a span a request, and a span an attempt and stage of a job.

By the rules of `service.metrics`: requests that the metrics leave out have no span, and no job has
one whose number or time would tell of reports before the close.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_schemas.jobs import StageName
from service.jobs.leases import Claim
from service.metrics import UNMATCHED, is_measured
from service.operations.repository import SHOWN_KINDS
from workers.tracing import Span, Tracing, Value

_ASKED_ALL_THE_TIME = ("/healthz", "/readyz", "/metrics")
_OFF = Tracing()


class Traced:
    """Middleware: a span a request, below the caller's `traceparent` if it sends one.

    Which route a request is for is known once it is through; until then its span is only open.
    """

    def __init__(
        self, app: ASGIApp, tracing: Tracing, templates: Mapping[Callable[..., Any], str]
    ) -> None:
        self.app = app
        self.tracing = tracing
        self.templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        parent = Headers(scope=scope).get("traceparent")
        with self.tracing.span("request", parent=parent, kind="server") as span:

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_status(span, message["status"])
                await send(message)

            try:
                await self.app(scope, receive, watched)
            finally:
                self._name(span, scope)

    def _name(self, span: Span, scope: Scope) -> None:
        endpoint = scope.get("endpoint")
        route = self.templates.get(endpoint, UNMATCHED) if endpoint else UNMATCHED
        if not is_measured(route) or route == UNMATCHED or route in _ASKED_ALL_THE_TIME:
            span.drop()
            return
        span.name(f"{scope['method']} {route}")
        span.note("http.request.method", scope["method"])
        span.note("http.route", route)
        span.note("truthtune.request_id", scope["state"]["request_id"])


def _note_status(span: Span, status: int) -> None:
    span.note("http.response.status_code", status)
    if status >= 500:
        span.fail(str(status))


def attempt_span(tracing: Tracing, held: Claim) -> AbstractContextManager[Span]:
    """One attempt at a job, below what queued it."""
    attributes: dict[str, Value] = {
        "truthtune.job_id": held.job_id,
        "truthtune.job_kind": held.job.kind,
        "truthtune.attempt": held.attempt,
    }
    return _shown(tracing, held).span(f"job {held.job.kind}", attributes, parent=held.traceparent)


def stage_span(tracing: Tracing, held: Claim, stage: StageName) -> AbstractContextManager[Span]:
    attributes: dict[str, Value] = {
        "truthtune.job_id": held.job_id,
        "truthtune.stage": stage,
        "truthtune.attempt": held.attempt,
    }
    return _shown(tracing, held).span(f"stage {stage}", attributes)


def _shown(tracing: Tracing, held: Claim) -> Tracing:
    return tracing if held.job.kind in SHOWN_KINDS else _OFF
