"""Every route × role × state of the round is answered as the table says: 100 %, none left out."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from route_scenes import STATES, set_scene
from route_table import ROLES, TABLE
from starlette.routing import BaseRoute
from starlette.testclient import TestClient
from support import SEAL_KEY

import service.app
from api_schemas.rounds import RoundState
from service.app import create_app
from service.jobs import events
from service.settings import Settings


def test_the_table_has_every_route_and_no_other() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(TABLE) == routes


def test_the_documentation_tells_how_many_requests_that_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "trust.md").read_text()
    assert f" {len(TABLE) * len(ROLES) * len(STATES):,} requests" in page


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("fresh_postgres_database"))
    shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "truthtune.db")
    return f"sqlite:///{tmp_path / 'truthtune.db'}"


@pytest.mark.parametrize("state", STATES)
def test_every_request_is_answered_as_the_table_says(
    state: RoundState,
    empty_database_url: str,
    tmp_path: Path,
    routes: list[BaseRoute],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service.app, "_add_routes", lambda app: app.router.routes.extend(routes))
    monkeypatch.setattr(events, "follow", _nothing_follows)
    app = _app(empty_database_url, tmp_path)
    wrong = []
    with TestClient(app, raise_server_exceptions=False) as client:
        scene = set_scene(app, client, state)
        for route, line in TABLE.items():
            for role in ROLES:
                expected = line.expected(route.split(" ")[0], role, state)
                if (status := scene.ask(role, route)) != expected:
                    wrong.append(f"{role}: {route} in {state} gave {status}, not {expected}")
    print(f"{state}: {len(TABLE) * len(ROLES) - len(wrong)} of {len(TABLE) * len(ROLES)} as told")
    assert wrong == []


def _app(database_url: str, home: Path) -> FastAPI:
    """Its quotas and limits are not what is tested here."""
    settings = Settings(
        home=home / "home",
        database_url=database_url,
        seal_key=SEAL_KEY,
        rate_limit_per_minute=0,
        failed_authentications_per_minute=0,
    )
    return create_app(settings)


async def _nothing_follows(*_: object) -> AsyncIterator[object]:
    """A stream that ends, where that of an unfinished job would not."""
    return
    yield
