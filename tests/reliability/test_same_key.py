"""One POST sent 2,000 times at once with one Idempotency-Key, over real sockets."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from campaigns import scaled
from databases import Databases
from fork_server import ForkServer
from lives import make_operator_key
from scenes import claim, queue_job, settle, valued
from servers import free_port, wait_until_ready
from sqlalchemy import func, select
from support import SEAL_KEY

from service.database import Database
from service.settings import Settings
from service.tables import Base, FileRow, InvoicePaymentRow, InvoiceRow

_BOUNDARY = "a-boundary"
_FORM = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nprompts\r\n'
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="p.jsonl"\r\n\r\n'
    f'{{"prompt": "red sun"}}\n\r\n--{_BOUNDARY}--\r\n'
)
_PAYMENT = '{"amount_micro_units": 1, "reference": "a part of it"}'


@dataclass(frozen=True)
class Post:
    """What is sent again and again; but for the key each would have an effect of its own."""

    path: str
    content_type: str
    body: str
    effects: type[Base]


@dataclass(frozen=True)
class Served:
    """An API of its own process, and what a request to it needs."""

    port: int
    key: str
    database: Database

    def post(self, what: str) -> Post:
        if what == "upload":
            form = f"multipart/form-data; boundary={_BOUNDARY}"
            return Post("/v1/files", form, _FORM, FileRow)
        queue_job(self.database)
        held = claim(self.database)
        settle(self.database, held, valued(held.round_job))
        with self.database.read() as session:
            invoice_id = session.scalars(select(InvoiceRow.id).limit(1)).one()
        path = f"/v1/invoices/{invoice_id}/payments"
        return Post(path, "application/json", _PAYMENT, InvoicePaymentRow)


@pytest.fixture
def served(databases: Databases, fork_server: ForkServer, tmp_path: Path) -> Iterator[Served]:
    settings = {
        "home": str(tmp_path),
        "database_url": databases.new(),
        "seal_key": SEAL_KEY,
        "max_connections": 2500,
        "rate_limit_per_minute": 0,
    }
    port = free_port()
    pid = fork_server.start("servers:serve", tmp_path / "api.log", settings=settings, port=port)
    wait_until_ready(port)
    database = Database(str(settings["database_url"]))
    yield Served(port, make_operator_key(Settings.model_validate(settings)), database)
    database.dispose()
    os.kill(pid, signal.SIGTERM)
    fork_server.wait(pid)


def test_two_hundred_payments_at_once_with_one_key_are_one(served: Served) -> None:
    _post(served, served.post("payment"), 200)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", ["upload", "payment"])
def test_two_thousand_posts_at_once_with_one_key_have_one_effect(
    served: Served, databases: Databases, what: str
) -> None:
    times = scaled(2000)
    _post(served, served.post(what), times)
    print(
        f"\n{times} times one {what} at once with one Idempotency-Key, {databases.kind}: 1 effect, "
        f"{times} equal answers"
    )


def _post(served: Served, post: Post, times: int) -> None:
    answers = asyncio.run(_post_at_once(served, post, times))
    assert {head.split(b"\r\n")[0] for head, _ in answers} == {b"HTTP/1.1 201 Created"}
    assert len(answers) == times
    assert len({body for _, body in answers}) == 1
    replayed = sum(b"idempotent-replayed: true" in head.lower() for head, _ in answers)
    assert replayed == times - 1
    with served.database.read() as session:
        assert session.scalar(select(func.count()).select_from(post.effects)) == 1


async def _post_at_once(served: Served, post: Post, times: int) -> list[tuple[bytes, bytes]]:
    """Every request is sent before the first answer is read; head and body of each answer."""
    request = (
        f"POST {post.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Authorization: Bearer {served.key}\r\nIdempotency-Key: one-and-the-same\r\n"
        f"Content-Type: {post.content_type}\r\nContent-Length: {len(post.body)}\r\n\r\n{post.body}"
    ).encode()
    streams = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(times)]
    for _, writer in streams:
        writer.write(request)
    answers = await asyncio.gather(*(reader.read() for reader, _ in streams))
    for _, writer in streams:
        writer.close()
    return [(head, body) for head, _, body in (each.partition(b"\r\n\r\n") for each in answers)]
