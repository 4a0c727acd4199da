"""A fresh service on SQLite with an operator and three groups, made in a tenth of a second."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from lives import with_routes_at_hand
from scenes import add_groups
from starlette.testclient import TestClient
from support import PROMPTS, SEAL_KEY, add_key, round_body, upload_jsonl

from service.app import create_app
from service.dependencies import AppState
from service.settings import Settings

_KEY_SECRET = "a secret of the tests, 32 characters or more"
GROUPS = 3


class SmallWorld:
    """`groups` are the ids, in the order in which `as_group` counts them."""

    def __init__(self, sqlite_template: Path):
        self._folder = tempfile.TemporaryDirectory(prefix="truthtune-world-")
        home = Path(self._folder.name)
        shutil.copy(sqlite_template, home / "truthtune.db")
        with_routes_at_hand()
        app = create_app(
            Settings(home=home, key_secret=_KEY_SECRET, seal_key=SEAL_KEY, rate_limit_per_minute=0)
        )
        self._client = TestClient(app).__enter__()
        self.state: AppState = app.state.truthtune
        self.database = self.state.database
        with self.database.write() as session:
            self.groups = add_groups(session, GROUPS)
        self._operator = _bearer(add_key(self.state, "operator", None))
        self._groups = [_bearer(add_key(self.state, "group", id_)) for id_ in self.groups]
        self._prompts = ""

    def close(self) -> None:
        self._client.__exit__(None, None, None)
        self._folder.cleanup()

    def as_operator(self, method: str, path: str, **request: Any) -> Any:
        return self._client.request(method, path, headers=self._operator, **request)

    def as_group(self, group: int, method: str, path: str, **request: Any) -> Any:
        return self._client.request(method, path, headers=self._groups[group], **request)

    def announce(self) -> Any:
        """The answer to a round's announcement."""
        if not self._prompts:
            self._client.headers.update(self._operator)
            lines = [{"prompt": prompt} for prompt in PROMPTS]
            self._prompts = upload_jsonl(self._client, "prompts", lines)["id"]
        return self.as_operator("POST", "/v1/rounds", json=round_body(self._prompts))


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
