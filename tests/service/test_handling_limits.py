"""A request that takes too long: its client gets an answer, its thread comes back."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from starlette.types import Message, Receive, Scope, Send

from service import limits
from service.database import Database
from service.failures import DATABASE_UNAVAILABLE, name_failure

_ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
}


@pytest.fixture
def impatient(database_url: str) -> Iterator[Database]:
    database = Database(database_url, statement_seconds=0.2)
    yield database
    database.dispose()


def _run_for_ever(database: Database) -> None:
    with database.read() as session:
        session.execute(text(_ENDLESS[database.url.get_backend_name()]))


def test_a_statement_is_stopped_and_the_next_one_runs(impatient: Database) -> None:
    started = time.monotonic()
    with pytest.raises(OperationalError) as refused:
        _run_for_ever(impatient)
    assert time.monotonic() - started < 30
    assert name_failure(refused.value) is DATABASE_UNAVAILABLE
    with impatient.write() as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_statements_of_a_long_transaction_have_a_limit_each(impatient: Database) -> None:
    with impatient.read() as session:
        for _ in range(4):
            time.sleep(0.1)
            session.scalar(text("SELECT count(*) FROM jobs"))


@pytest.fixture
def slow_app(app: FastAPI) -> FastAPI:
    @app.post("/slow")
    def slow(body: dict[str, float]) -> dict[str, str]:
        time.sleep(body["seconds"])
        return {"was": "slow"}

    @app.get("/endless")
    def endless() -> None:
        _run_for_ever(app.state.truthtune.database)

    return app


def test_a_request_that_takes_too_long_is_answered_once(
    slow_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HANDLING_SECONDS", 0.3)
    with TestClient(slow_app) as client:
        refused = client.post("/slow", json={"seconds": 1.0})
        assert client.post("/slow", json={"seconds": 0.0}).json() == {"was": "slow"}
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    problem = refused.json()
    assert problem["code"] == "handling_timeout"
    assert problem["request_id"] == refused.headers["X-Request-Id"]


def test_an_excuse_is_made_once_though_the_request_goes_on_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "HANDLING_SECONDS", 0.05)
    sent: list[str] = []

    async def reads_on(_scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)
        await receive()
        await asyncio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    asyncio.run(limits.HandlingLimit(reads_on)({"type": "http"}, receive, send))
    assert sent == ["http.response.start", "http.response.body"]


def test_an_endless_statement_of_a_request_is_stopped(
    slow_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STATEMENT_SECONDS", 0.2)
    with TestClient(slow_app) as client:
        refused = client.get("/endless")
    assert refused.status_code == 503
    assert refused.json()["code"] == "database_unavailable"
