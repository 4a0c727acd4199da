"""An OpenTelemetry collector on a local port: the spans that were sent to it over HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Sent:
    """A span as it came over the wire."""

    process: str
    name: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]


@dataclass
class Collector:
    url: str
    spans: list[Sent] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    _came: threading.Condition = field(default_factory=threading.Condition)

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces", path
        with self._came:
            self.bodies.append(body)
            self.spans += _decoded(ExportTraceServiceRequest.FromString(body))
            self._came.notify_all()

    def wait_for(self, name: str, **attributes: Any) -> Sent:
        """The first span of this name with these attributes, once it has come."""

        def found() -> Sent | None:
            named = (span for span in self.spans if span.name == name)
            return next((s for s in named if attributes.items() <= s.attributes.items()), None)

        with self._came:
            sent = self._came.wait_for(found, TIMEOUT_SECONDS)
        assert sent, f"no span {name} among {[span.name for span in self.spans]}"
        return sent


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(collector))
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Silence: pytest shows what fails."""

    return Handler


def _decoded(request: ExportTraceServiceRequest) -> Iterator[Sent]:
    for resource in request.resource_spans:
        (process,) = (
            attribute.value.string_value
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        )
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Sent(
                    process=process,
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    attributes={
                        each.key: getattr(each.value, each.value.WhichOneof("value"))
                        for each in span.attributes
                    },
                )
