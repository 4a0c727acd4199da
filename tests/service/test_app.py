"""The application as a whole: how it starts, what it says of itself, how it fails."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import migrations
from migrations import SchemaOutOfDate
from service.app import create_app
from service.database import Database
from service.dependencies import AppState
from service.metrics import UNMEASURED
from service.settings import Settings


def test_the_apis_document_needs_no_database() -> None:
    document = create_app(Settings(database_url="postgresql+psycopg://nowhere/none")).openapi()
    assert "/v1/rounds" in document["paths"]


def test_an_empty_database_is_refused_at_the_start_with_the_command_to_run(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path / "home"))
    with pytest.raises(SchemaOutOfDate, match="truthtune db upgrade"), TestClient(app):
        pass


def test_an_older_schema_is_refused_at_the_start(database: Database, app: FastAPI) -> None:
    migrations.downgrade(database, "base")
    with pytest.raises(SchemaOutOfDate, match="schema version none"), TestClient(app):
        pass


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://someone:a-password@127.0.0.1:1/none"
    app = create_app(Settings(home=tmp_path, database_url=url))
    with pytest.raises(migrations.DatabaseUnreachable) as raised, TestClient(app):
        pass
    assert "127.0.0.1:1" in raised.value.message
    assert "a-password" not in raised.value.message


def test_liveness_and_readiness_need_no_key(client: TestClient) -> None:
    for path in ("/healthz", "/readyz"):
        assert client.get(path).json() == {"object": "health", "status": "ok"}


def test_the_service_is_not_ready_once_its_schema_is_gone(
    client: TestClient, state: AppState
) -> None:
    migrations.downgrade(state.database, "base")
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_requests_are_counted_by_route_template(operator: TestClient) -> None:
    operator.get("/v1/groups/grp_" + "0" * 26)
    operator.get("/nowhere/at/all")
    operator.request("BREW", "/nowhere")
    text = operator.get("/metrics").text
    assert 'route="/v1/groups/{group_id}",status="404"} 1.0' in text
    assert 'method="unmatched",route="unmatched",status="404"} 2.0' in text
    assert "grp_" not in text


def test_the_unmeasured_routes_exist(app: FastAPI) -> None:
    assert set(app.openapi()["paths"]) >= UNMEASURED


def test_an_unforeseen_failure_tells_its_id_and_nothing_else(
    app: FastAPI, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    @app.get("/broken")
    def broken() -> None:
        a_secret = "tt_op_0123"
        raise RuntimeError(f"cannot go on {len(a_secret)}")

    failed = client.get("/broken")
    assert failed.status_code == 500
    assert failed.headers["content-type"] == "application/problem+json"
    assert failed.json()["request_id"] == failed.headers["X-Request-Id"]
    assert "cannot go on" not in failed.text
    logged = capsys.readouterr().err
    assert failed.headers["X-Request-Id"] in logged
    assert "cannot go on 10" in logged
    assert "tt_op_0123" not in logged


def test_every_response_has_an_id_of_its_own(client: TestClient) -> None:
    ids = {client.get("/healthz").headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3
    assert (
        client.get("/healthz", headers={"X-Request-Id": "mine"}).headers["X-Request-Id"] != "mine"
    )


def test_a_success_is_told_only_after_its_commit(
    operator: TestClient, state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that fails must not follow a 201."""
    from sqlalchemy.orm import Session

    def fail(self: Session) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("sqlalchemy.orm.SessionTransaction.commit", fail)
    assert operator.post("/v1/groups", json={"name": "teachers"}).status_code == 500
    monkeypatch.undo()
    assert operator.get("/v1/groups").json()["data"] == []
