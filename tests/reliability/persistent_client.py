"""People who use the service while it dies: they ask until they are answered, with the same
Idempotency-Key, and remember what they were told."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from support import report_body, round_body

GROUPS = ("ants", "bees", "cats")
_ENOUGH_SECONDS = 600.0
_ENOUGH_SECONDS_OF_A_ROUND = 3600.0
"""One whose Ray dies again and again is tried a minute later each time."""

_PAUSE_SECONDS = 0.1
# Little to train, and nothing but the grand world.
RULES = {
    "training": {"steps": 1, "samples_per_prompt": 4, "evaluate_every": 1, "top_layers": None},
    "pool": {"method": "enumerate", "fresh_samples_per_prompt": 2},
}


@dataclass
class Told:
    """Every answer that came."""

    reports: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    payments: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)


class Clients:
    """An operator and three groups; `run` plays rounds, one after another, until `stop` is set."""

    def __init__(self, url: str, operator_key: str):
        self.told, self.stop = Told(), threading.Event()
        self._http = httpx.Client(base_url=url, timeout=10)
        self._operator = {"Authorization": f"Bearer {operator_key}"}
        self._asked = 0
        self.keys = {name: self._register(name) for name in GROUPS}
        upload = {"file": ("p.jsonl", b'{"prompt": "red"}\n{"prompt": "blue"}\n')}
        file = self._post("/v1/files", data={"purpose": "prompts"}, files=upload)
        self._prompts = file["id"]

    def run(self) -> None:
        while not self.stop.is_set():
            self.play_a_round()

    def play_a_round(self) -> None:
        round_id = self._post("/v1/rounds", json=round_body(self._prompts, **RULES))["id"]
        self._change(round_id, "open", "draft")
        for size, name in enumerate(GROUPS, start=1):
            path = f"/v1/rounds/{round_id}/report"
            put = self._ask("PUT", path, self.keys[name], json=report_body(size, word="red"))
            self.told.reports.append((name, put))
        self._change(round_id, "close", "open")
        self._wait_for(round_id)
        self._pay(round_id)

    def get(self, path: str, key: str | None = None) -> dict[str, Any]:
        return self._ask("GET", path, key)

    def _register(self, name: str) -> str:
        group = self._post("/v1/groups", json={"name": name})
        wanted = {"scope": "group", "group_id": group["id"], "name": name}
        return str(self._post("/v1/keys", json=wanted)["secret"])

    def _change(self, round_id: str, deed: str, before: str) -> None:
        """These take no Idempotency-Key: whoever got no answer looks first."""
        while self.get(f"/v1/rounds/{round_id}")["state"] == before:
            try:
                self._http.post(f"/v1/rounds/{round_id}/{deed}", headers=self._operator)
            except httpx.TransportError:
                time.sleep(_PAUSE_SECONDS)

    def _wait_for(self, round_id: str) -> None:
        deadline = time.monotonic() + _ENOUGH_SECONDS_OF_A_ROUND
        while (found := self.get(f"/v1/rounds/{round_id}"))["state"] != "settled":
            assert found["state"] in ("closed", "running"), found["failure"]
            assert time.monotonic() < deadline, f"round {round_id} is {found['state']}"
            time.sleep(_PAUSE_SECONDS)
        self.told.settled.append(round_id)

    def _pay(self, round_id: str) -> None:
        for invoice in self.get("/v1/invoices?limit=100")["data"]:
            if invoice["round_id"] == round_id and invoice["status"] == "open":
                due = {"amount_micro_units": invoice["amount_micro_units"], "reference": "bank"}
                paid = self._post(f"/v1/invoices/{invoice['id']}/payments", json=due)
                self.told.payments.append(paid["id"])

    def _post(self, path: str, **request: Any) -> dict[str, Any]:
        self._asked += 1
        return self._ask("POST", path, None, key_of_request=f"ask-{self._asked}", **request)

    def _ask(
        self,
        method: str,
        path: str,
        key: str | None = None,
        key_of_request: str | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {key}"} if key else dict(self._operator)
        if key_of_request:
            headers["Idempotency-Key"] = key_of_request
        deadline = time.monotonic() + _ENOUGH_SECONDS
        while True:
            try:
                answer = self._http.request(method, path, headers=headers, **request)
                if answer.is_success:
                    return dict(answer.json())
                assert answer.status_code >= 500, answer.text
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, f"{method} {path}: no answer"
            time.sleep(_PAUSE_SECONDS)
