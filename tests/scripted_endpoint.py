"""An OpenAI-compatible endpoint on a local port, whose answers and faults a test scripts.

    with scripted_endpoint(lambda asked: f"You said {asked.last}") as endpoint:
        endpoint.faults += [status(429, retry_after="1"), cut()]
        model = open_model(spec, endpoints=[endpoint.access()], …)

Each request takes the first fault that is left, and an answer if there is none.
"""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from api_schemas.language_models import EndpointAccess

KEY = "sk-the-key-that-nobody-may-see"
NAME, MODEL = "scripted", "scripted-model"


@dataclass(frozen=True)
class Asked:
    """A request as it came over the wire; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> list[dict[str, str]]:
        return list(self.body["messages"])

    @property
    def last(self) -> str:
        """What the last message says."""
        return self.messages[-1]["content"]

    @property
    def text(self) -> str:
        """All messages, a paragraph each."""
        return "\n\n".join(message["content"] for message in self.messages)


@dataclass(frozen=True)
class Answer:
    """Without usage, as some servers answer; otherwise a token is a word."""

    text: str
    finish_reason: str = "stop"
    with_usage: bool = True


@dataclass(frozen=True)
class Fault:
    """What a request gets instead of an answer: a status and a body, a cut or silent connection."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cuts: bool = False
    hangs: bool = False


def status(code: int, body: str = "", retry_after: str | None = None) -> Fault:
    return Fault(code, body.encode(), {} if retry_after is None else {"Retry-After": retry_after})


def garbage(body: str = "<html>Bad gateway, in a manner of speaking</html>") -> Fault:
    return Fault(200, body.encode())


def completion(**fields: Any) -> Fault:
    """A body that is JSON, with these fields and no others."""
    return garbage(json.dumps(fields))


def cut() -> Fault:
    """The connection is reset when the request has been read."""
    return Fault(cuts=True)


def hang() -> Fault:
    """No answer until the endpoint is closed; the client's own clock must end it."""
    return Fault(hangs=True)


def repeating(phrase: str = "Tomatoes need water. ", times: int = 40) -> str:
    """What a degenerate model writes."""
    return phrase * times


Script = Callable[[Asked], "str | Answer | Fault"]


@dataclass
class ScriptedEndpoint:
    """`asked` are all requests in the order in which they came, faulty ones too; `most_at_once` is
    the largest number that were there at the same time."""

    script: Script
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: threading.Event = field(default_factory=threading.Event)

    def access(self, **changes: Any) -> EndpointAccess:
        """The endpoint as a worker gets it."""
        given = {"name": NAME, "url": self.url, "key": KEY, "models": [MODEL], **changes}
        return EndpointAccess.model_validate(given)

    def begin(self, asked: Asked) -> Fault | None:
        with self._lock:
            self.asked.append(asked)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            return self.faults.pop(0) if self.faults else None

    def end(self) -> None:
        with self._lock:
            self.at_once -= 1

    def wait_until_closed(self) -> None:
        self._closed.wait()

    def close(self) -> None:
        self._closed.set()


def always(text: str) -> Script:
    return lambda _: text


def in_turn(texts: Sequence[str]) -> Script:
    """The texts one after another; one more request than there are texts is an error."""
    left = iter(texts)
    lock = threading.Lock()

    def answer(_: Asked) -> str:
        with lock:
            return next(left)

    return answer


@contextmanager
def scripted_endpoint(script: Script | str = "Yes.") -> Iterator[ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(always(script) if isinstance(script, str) else script)
    server = _Server(("127.0.0.1", 0), _handler(endpoint))
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.close()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no news."""


def _handler(endpoint: ScriptedEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.path, headers, json.loads(content))
            fault = endpoint.begin(asked)
            try:
                answer = fault or endpoint.script(asked)
            finally:
                endpoint.end()  # before the client has it, and asks again
            self._answer(asked, answer)

        def _answer(self, asked: Asked, found: str | Answer | Fault) -> None:
            fault = found if isinstance(found, Fault) else Fault()
            if not isinstance(found, Fault):
                answer = Answer(found) if isinstance(found, str) else found
                self._send(200, json.dumps(_completion(asked, answer)).encode(), {})
            elif fault.hangs:
                endpoint.wait_until_closed()
                self.close_connection = True
            elif fault.cuts:
                # Closing with unsent data thrown away sends a reset.
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                self.close_connection = True
            else:
                self._send(fault.status, fault.body, fault.headers)

        def _send(self, code: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _completion(asked: Asked, answer: Answer) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.text},
        "finish_reason": answer.finish_reason,
    }
    found = {"object": "chat.completion", "model": asked.body["model"], "choices": [choice]}
    if not answer.with_usage:
        return found
    written = len(answer.text.split())
    read = len(asked.text.split())
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return {**found, "usage": usage}
