"""Traces: what ran, where, for how long and how it ended, sent by OpenTelemetry's OTLP over HTTP.

Without an endpoint nothing is recorded, and OpenTelemetry's SDK is not loaded. A span is told
names, ids, digests and counts of attempts, never a report, a prompt, a response, a key or an
exception's message; who opens one sees to it that it says nothing of reports before the close.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from api_schemas.errors import Unavailable

if TYPE_CHECKING:  # seconds to import, for those who trace alone
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan

Value = str | int
Kind = Literal["internal", "server"]

_EXPORT_SECONDS = 0.2
"""Between two batches: an idle Ray worker may be ended a second after its task."""
_TIMEOUT_SECONDS = 2.0
"""For one batch: a collector that is away must not hold up the end of a process."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TraceLink:
    """The span that is open, for tasks elsewhere: where spans go, and its W3C traceparent."""

    endpoint: str
    traceparent: str


_open: ContextVar[TraceLink | None] = ContextVar("open_span", default=None)


def current_link() -> TraceLink | None:
    """The open span of this thread or task; None where nothing is traced."""
    return _open.get()


class Span:
    """What the block of a span may add to it; nothing, where nothing is traced."""

    def __init__(self, inner: "OtelSpan | None" = None):
        self._inner = inner
        self._kept = True

    def name(self, name: str) -> None:
        if self._inner is not None:
            self._inner.update_name(name)

    def note(self, attribute: str, value: Value) -> None:
        if self._inner is not None:
            self._inner.set_attribute(attribute, value)

    def fail(self, code: str) -> None:
        """Mark it as failed, by a name of the error: a message could hold a report's words."""
        if self._inner is not None:
            from opentelemetry.trace import StatusCode

            self._inner.set_attribute("error.type", code)
            self._inner.set_status(StatusCode.ERROR)

    def drop(self) -> None:
        """It is never sent."""
        self._kept = False

    def end(self) -> None:
        if self._inner is not None and self._kept:
            self._inner.end()


class Tracing:
    """Opens spans and sends them to `endpoint`, an OTLP collector's base URL; without it, none.

    Raises Unavailable if there is an endpoint, but not the packages of the extra `tracing`.
    """

    def __init__(self, endpoint: str | None = None, process: str = "truthtune"):
        self._endpoint = endpoint
        self._provider = _provider(endpoint, process) if endpoint else None

    def span(
        self,
        name: str,
        attributes: Mapping[str, Value] | None = None,
        *,
        parent: str | None = None,
        kind: Kind = "internal",
    ) -> AbstractContextManager[Span]:
        """A context: the span of its block, below the traceparent `parent`, else the open span,
        unless its kind is `server`: a page of the dashboard asks the API as others do.

        An exception that leaves the block marks the span as failed, by its code or class.
        """
        if self._provider is None or self._endpoint is None:
            return nullcontext(Span())
        return _opened(self._provider, self._endpoint, name, attributes or {}, parent, kind)

    def flush(self) -> None:
        """Send what has ended; at most a batch's time-out."""
        if self._provider is not None:
            self._provider.force_flush(round(1000 * _TIMEOUT_SECONDS))

    def close(self) -> None:
        """Send what is left; at most a batch's time-out."""
        if self._provider is not None:
            self._provider.shutdown()


@contextmanager
def continued(
    link: TraceLink | None,
    name: str,
    attributes: Mapping[str, Value] | None = None,
    *,
    last: bool = False,
) -> Iterator[Span]:
    """In a task elsewhere: a span below that of `link`; none without one, or where this machine
    lacks the packages, for no work may fail of that. If it is the `last` of its process, which may
    be ended as soon as the work is done, it is sent before."""
    tracing = None if link is None else _of_tasks(link.endpoint)
    if link is None or tracing is None:
        yield Span()
        return
    try:
        with tracing.span(name, attributes, parent=link.traceparent) as span:
            yield span
    finally:
        if last:
            tracing.flush()


@lru_cache(maxsize=1)
def _of_tasks(endpoint: str) -> Tracing | None:
    try:
        return Tracing(endpoint, "truthtune-worker")
    except Unavailable as error:
        log.warning("tasks of this machine are not traced: %s", error.message)
        return None


def _provider(endpoint: str, process: str) -> "TracerProvider":
    """Of this object alone: OpenTelemetry's global one is for whoever sets it."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"TRUTHTUNE_OTLP_ENDPOINT is {endpoint}, but {error.name} is not installed: "
            "pip install 'truthtune[tracing]', or leave the setting away",
            code="tracing_unavailable",
        ) from None
    url = f"{endpoint.rstrip('/')}/v1/traces"
    exporter = OTLPSpanExporter(endpoint=url, timeout=_TIMEOUT_SECONDS)
    provider = TracerProvider(resource=Resource.create({"service.name": process}))
    provider.add_span_processor(
        BatchSpanProcessor(exporter, schedule_delay_millis=1000 * _EXPORT_SECONDS)
    )
    return provider


@contextmanager
def _opened(
    provider: "TracerProvider",
    endpoint: str,
    name: str,
    attributes: Mapping[str, Value],
    parent: str | None,
    kind: Kind,
) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind

    above = _open.get() if kind == "internal" else None
    inner = provider.get_tracer("truthtune").start_span(
        name,
        context=_context(parent or (above.traceparent if above else None)),
        kind=SpanKind.SERVER if kind == "server" else SpanKind.INTERNAL,
        attributes=dict(attributes),
    )
    span = Span(inner)
    token = _open.set(TraceLink(endpoint, _traceparent(inner)))
    try:
        yield span
    except BaseException as error:
        span.fail(str(getattr(error, "code", type(error).__name__.lstrip("_"))))
        raise
    finally:
        _open.reset(token)
        span.end()


def _context(traceparent: str | None) -> "Context":
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"traceparent": traceparent} if traceparent else {}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _traceparent(span: "OtelSpan") -> str:
    """By W3C Trace Context: version, trace, span, flags (1: sampled)."""
    here = span.get_span_context()
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"
