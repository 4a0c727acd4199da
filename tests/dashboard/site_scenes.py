"""A service in this process behind a real socket, and scenes set past its API."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from served_app import serve_app
from support import SEAL_KEY, add_key

from service.app import create_app
from service.dependencies import AppState
from service.groups import repository
from service.settings import Settings


@dataclass
class Site:
    url: str
    app: FastAPI
    operator_key: str

    @property
    def state(self) -> AppState:
        state: AppState = self.app.state.truthtune
        return state

    def new_group(self, name: str) -> tuple[str, str]:
        """The id of a new group, and a key that speaks for it."""
        with self.state.database.write() as session:
            group = repository.add_group(session, name, datetime.now(UTC))
        return group.id, add_key(self.state, "group", group.id)

    def api(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key or self.operator_key}"}
        return httpx.Client(base_url=self.url, headers=headers)


class Person:
    """Someone's session without the browser; `post` sends the token of its forms."""

    def __init__(self, site: Site, key: str):
        self.client = httpx.Client(base_url=site.url)
        self.client.post("/dashboard/sign-in", data={"api_key": key})
        self._token = hidden_field(self.get("/rounds").text, "csrf_token")

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(f"/dashboard{path}", headers=headers)

    def post(self, path: str, files: Any = None, **fields: str) -> httpx.Response:
        data = {"csrf_token": self._token} | fields
        return self.client.post(f"/dashboard{path}", data=data, files=files)


def hidden_field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


@contextmanager
def serve_site(home: Path, database_url: str) -> Iterator[Site]:
    settings = Settings(
        home=home, database_url=database_url, seal_key=SEAL_KEY, port=0, rate_limit_per_minute=0
    )
    app = create_app(settings)
    with serve_app(app, settings) as port:
        key = add_key(app.state.truthtune, "operator", None)
        yield Site(f"http://127.0.0.1:{port}", app, key)
