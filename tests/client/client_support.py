"""What the client's tests share: the service they ask, and a server whose answers a test scripts,
for what a healthy service never does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service.database import Database


@dataclass(frozen=True)
class RunningService:
    url: str
    operator_key: str
    database: Database


@dataclass(frozen=True)
class Hold:
    """The answer stops behind its body: `begun` is set there, and it ends with `release`."""

    begun: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Answer:
    """`promised` bytes above those of the body make a connection that breaks off, unless `hold`
    keeps it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    hold: Hold | None = None


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Script:
    """The answers still to be given, one a request, and the requests so far."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def scripted_server() -> Iterator[Script]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    script = Script(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = _handler(script)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()


def _handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append(Asked(self.command, self.path, headers, self.rfile.read(length)))
            given = script.answers.pop(0)
            self.send_response_only(given.status)  # no Date but a scripted one
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(given.promised or len(given.body)))
            self.end_headers()
            self.wfile.write(given.body)
            if given.hold is not None:
                self.wfile.flush()
                given.hold.begun.set()
                given.hold.release.wait(60)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: the tests look at the requests themselves."""

    return Handler
