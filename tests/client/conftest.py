"""A real server of the application on a free port, and clients with keys."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from client_support import RunningService, Script, scripted_server

import migrations
from client import Truthtune, jobs, retries
from service.app import create_app
from service.auth import hmac_of, load_key_secret, new_secret
from service.database import Database
from service.groups import repository
from service.settings import Settings


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """API without coordinator, on SQLite; tests share it and make groups of their own."""
    settings = Settings(home=tmp_path_factory.mktemp("service"), max_upload_bytes=100_000)
    database = Database(settings.resolved_database_url)
    migrations.upgrade(database)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server ended while it was starting"
            time.sleep(0.01)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield RunningService(url, _operator_key(settings, database), database)
        server.should_exit = True
        thread.join(10)
    database.dispose()


@pytest.fixture
def operator(service: RunningService) -> Iterator[Truthtune]:
    with Truthtune(service.url, service.operator_key) as client:
        yield client


@pytest.fixture
def group(operator: Truthtune, service: RunningService, tmp_path: Path) -> Iterator[Truthtune]:
    """A client that speaks for a new group, named after the test's own folder."""
    group_id = operator.groups.create(str(tmp_path)[-100:]).id
    with Truthtune(service.url, operator.groups.create_key(group_id).secret) as client:
        yield client


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def scripted(script: Script) -> Iterator[Truthtune]:
    """A client of the scripted server."""
    with Truthtune(script.url, "tt_op_test", timeout=5) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "_RECONNECT_SECONDS", 0.0)


def _operator_key(settings: Settings, database: Database) -> str:
    secret = new_secret("operator")
    hashed = hmac_of(secret, load_key_secret(settings))
    with database.write() as session:
        repository.add_key(session, "operator", None, "tests", hashed, datetime.now(UTC))
    return secret
