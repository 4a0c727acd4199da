"""A real receiver of webhooks, endpoints that lead to it, and a clock that tests move."""

import base64
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from scenes import OPERATOR
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from support import VAULT

from api_schemas.webhooks import WebhookEndpoint, WebhookEndpointCreate
from service.auth import Principal
from service.database import Database, database_now
from service.tables import WebhookEndpointRow, WebhookMessageRow
from service.vault import Vault
from service.webhooks import repository
from service.webhooks.delivery import Deliverer
from service.webhooks.outbox import publish
from service.webhooks.sending import Sender


@dataclass(frozen=True)
class Arrived:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        return str(json.loads(self.body)["type"])


@dataclass
class Receiver:
    """What arrived, and what is still to be answered: statuses with headers, 204 once none is left.

    A request to a path in `blocked` waits there for its event.
    """

    url: str
    arrived: list[Arrived] = field(default_factory=list)
    answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    blocked: dict[str, threading.Event] = field(default_factory=dict)
    most_at_once: dict[str, int] = field(default_factory=dict)
    _now: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, *statuses: int, **headers: str) -> None:
        self.answers.extend((status, headers) for status in statuses)

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.arrived]

    def take(self, request: Arrived) -> tuple[int, dict[str, str]]:
        with self._lock:
            self._now[request.path] = now = self._now.get(request.path, 0) + 1
            self.most_at_once[request.path] = max(now, self.most_at_once.get(request.path, 0))
            self.arrived.append(request)
            answer = self.answers.popleft() if self.answers else (204, {})
        if request.path in self.blocked:
            self.blocked[request.path].wait(20)
        with self._lock:
            self._now[request.path] -= 1
        return answer


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = _handler(receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        for event in receiver.blocked.values():
            event.set()
        server.shutdown()
        server.server_close()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            status, answered = receiver.take(Arrived(self.path, headers, body))
            self.send_response(status)
            for name, value in answered.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: the tests look at what arrived."""

    return Handler


@dataclass
class Clock:
    """The database's, moved on by what a test adds."""

    ahead: timedelta = timedelta(0)

    def __call__(self, session: Session) -> datetime:
        return database_now(session) + self.ahead


def deliverer_to_private(
    database: Database, vault: Vault, clock: Clock | None = None, poll_seconds: float = 0.02
) -> Deliverer:
    return Deliverer(database, vault, Sender(private_too=True), poll_seconds, clock or database_now)


def deliver_all(deliverer: Deliverer) -> int:
    """Sends whatever is due; how many attempts that took."""
    sent = 0
    while deliverer.deliver_next():
        sent += 1
    return sent


def add_endpoint(client: TestClient, url: str, *event_types: str) -> dict[str, Any]:
    """All types of events unless some are named."""
    chosen = {"event_types": list(event_types)} if event_types else {}
    answer = client.post("/v1/webhook-endpoints", json={"url": url, **chosen})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def messages(database: Database) -> list[WebhookMessageRow]:
    with database.read() as session:
        return list(session.scalars(select(WebhookMessageRow).order_by(WebhookMessageRow.id)))


def is_signed(arrived: Arrived, public_key: str, signature: str | None = None) -> bool:
    """By the specification's own words: Ed25519 over `{id}.{timestamp}.{body}`."""
    text = signature or arrived.headers["webhook-signature"]
    version, _, encoded = text.partition(",")
    assert version == "v1a"
    key = base64.b64decode(public_key.removeprefix("whpk_"))
    content = (
        arrived.headers["webhook-id"].encode()
        + b"."
        + arrived.headers["webhook-timestamp"].encode()
        + b"."
        + arrived.body
    )
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(base64.b64decode(encoded), content)
    except Exception:
        return False
    return True


def own_endpoint(database: Database, url: str, owner: str = "operator") -> WebhookEndpoint:
    """Written past the API; all types of events."""
    principal = OPERATOR if owner == "operator" else Principal("key_" + "1" * 26, "group", owner)
    with database.write() as session:
        asked = WebhookEndpointCreate(url=url)
        return repository.add_endpoint(session, principal, VAULT, asked)


def tell(database: Database, count: int = 1, owner: str | None = None) -> None:
    """Events in one transaction, to everyone unless an owner is named."""
    with database.write() as session:
        for number in range(count):
            publish(session, [owner] if owner else None, "round.opened", {"number": number})


def endpoint_row(database: Database, endpoint: WebhookEndpoint) -> WebhookEndpointRow:
    with database.read() as session:
        return session.get_one(WebhookEndpointRow, endpoint.id)


def only_message(database: Database) -> WebhookMessageRow:
    (row,) = messages(database)
    return row
