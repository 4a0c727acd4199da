"""The whole life of a round, told so that any process can go on where another was killed.

One process is API, client and coordinator. What its client was told is in a journal; a life that
begins finds there what happened, asks for the rest again as a careful client does, with the same
Idempotency-Key, and ends when every invoice is paid.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import fail_points
from fake_cluster import FakeCluster
from fastapi import FastAPI
from findings import look_at
from journal import Journal
from starlette.testclient import TestClient
from support import report_body, round_body
from typer.testing import CliRunner

import service.app
import service.cli
from service import coordinator
from service.app import create_app
from service.settings import Settings
from workers.artifacts import ArtifactStore

GROUPS = ("ants", "bees", "cats")
# To build routes takes a tenth of a second, and hundreds of lives start on them.
_ROUTES = create_app(Settings()).routes[len(FastAPI().routes) :]


def live(settings: dict[str, Any], fail_at: int | None, side: fail_points.Side) -> None:
    """Go on until the round's invoices are paid, unless `fail_at` ends it; leave `findings.json`
    in the home."""
    if fail_at is not None:
        fail_points.die_at_commit(fail_at, side)
    found = Settings.model_validate(settings)
    journal = Journal(found.home / "journal.jsonl")
    operator_key = journal.once("operator", lambda: make_operator_key(found))
    with _api(found) as client:
        life = Life(client, journal, operator_key, found)
        life.report()
        life.settle()
        life.pay()
        findings = look_at(client, journal, operator_key, GROUPS)
    (found.home / "findings.json").write_text(json.dumps(findings))


class Life:
    def __init__(self, client: TestClient, journal: Journal, operator_key: str, settings: Settings):
        self._client, self._journal, self._settings = client, journal, settings
        self._operator = {"Authorization": f"Bearer {operator_key}"}

    def report(self) -> None:
        """Groups with keys, an open round, and a report of each."""
        for name in GROUPS:
            group = self._once(f"group {name}", "/v1/groups", {"name": name})
            wanted = {"scope": "group", "group_id": group["id"], "name": name}
            self._once(f"key {name}", "/v1/keys", wanted, idempotent=False)
        round_id = self._once("round", "/v1/rounds", round_body(self._prompts()))["id"]
        if self._state(round_id) == "draft":
            self._post(f"/v1/rounds/{round_id}/open")
        if self._state(round_id) == "open":
            for size, name in enumerate(GROUPS, start=1):
                self._journal.once(f"report {name}", partial(self._put, round_id, name, size))

    def settle(self) -> None:
        """Close the round, and be its coordinator until it is settled."""
        round_id = self._journal["round"]["id"]
        if self._state(round_id) == "open":
            self._post(f"/v1/rounds/{round_id}/close")
        stop = threading.Event()
        cluster = FakeCluster(ArtifactStore(self._settings.resolved_artifacts_url))
        thread = threading.Thread(
            target=coordinator.run, args=(self._settings, stop, lambda _: cluster)
        )
        thread.start()
        while self._state(round_id) != "settled":
            assert thread.is_alive(), "the coordinator ended"
            stop.wait(0.02)
        stop.set()
        thread.join()

    def pay(self) -> None:
        for invoice in self._get("/v1/invoices")["data"]:
            self._once(
                f"payment {invoice['id']}",
                f"/v1/invoices/{invoice['id']}/payments",
                {"amount_micro_units": invoice["amount_micro_units"], "reference": "bank"},
            )

    def _prompts(self) -> str:
        def upload() -> dict[str, Any]:
            data = b"".join(b'{"prompt": "%s"}\n' % word for word in (b"red", b"blue"))
            return self._post(
                "/v1/files", data={"purpose": "prompts"}, files={"file": ("p.jsonl", data)}
            )

        return str(self._journal.once("prompts", upload)["id"])

    def _put(self, round_id: str, name: str, size: int) -> dict[str, Any]:
        key = self._journal[f"key {name}"]["secret"]
        answer = self._client.put(
            f"/v1/rounds/{round_id}/report",
            json=report_body(size=size, word=name),
            headers={"Authorization": f"Bearer {key}"},
        )
        return _body(answer)

    def _state(self, round_id: str) -> str:
        return str(self._get(f"/v1/rounds/{round_id}")["state"])

    def _get(self, path: str) -> dict[str, Any]:
        return _body(self._client.get(path, headers=self._operator))

    def _once(
        self, step: str, path: str, body: dict[str, Any], *, idempotent: bool = True
    ) -> dict[str, Any]:
        key = {"Idempotency-Key": step.replace(" ", "-")} if idempotent else {}
        return dict(self._journal.once(step, lambda: self._post(path, json=body, headers=key)))

    def _post(self, path: str, **request: Any) -> dict[str, Any]:
        headers = self._operator | request.pop("headers", {})
        return _body(self._client.post(path, headers=headers, **request))


def with_routes_at_hand() -> None:
    """Applications that this process makes take the routes that exist already."""
    service.app._add_routes = lambda app: app.router.routes.extend(_ROUTES)


@contextmanager
def _api(settings: Settings) -> Iterator[TestClient]:
    with_routes_at_hand()
    with TestClient(create_app(settings)) as client:
        yield client


def make_operator_key(settings: Settings) -> str:
    made = CliRunner().invoke(
        service.cli.app,
        ["key", "create-operator"],
        env={
            "TRUTHTUNE_HOME": str(settings.home),
            "TRUTHTUNE_DATABASE_URL": settings.resolved_database_url,
        },
    )
    assert made.exit_code == 0, (made.output, made.exception)
    return made.stdout.strip().splitlines()[-1]


def _body(answer: Any) -> dict[str, Any]:
    assert answer.is_success, answer.text
    return dict(answer.json())
