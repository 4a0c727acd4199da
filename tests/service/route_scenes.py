"""One round in one state with everything about it, and a client of every role.

What a request writes is rolled back after its answer, so that a scene serves any number of them.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from corpus_scenes import LOCAL, made_of_documents
from fastapi import FastAPI
from preview_scenes import preview, quote
from preview_scenes import publish_next as publish_next_of_these
from reward_model_scenes import ITEMS, LEXICAL, publish_next, ready, rerank
from scenes import DIGEST, claim, publish, queue_audit, settle_next
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from support import PAIRS, add_key, report_body, round_body, upload_jsonl

from api_schemas.jobs import STAGES
from api_schemas.rounds import RoundState
from service.auth import hmac_of, new_secret
from service.database import Database
from service.dependencies import AppState
from service.groups import repository
from service.jobs import leases
from service.tables import (
    IncentiveAuditRow,
    InvoiceRow,
    JobRow,
    ModelRow,
    PreviewRow,
    ReceiptRow,
    RoundRow,
    WebhookMessageRow,
)

STATES: tuple[RoundState, ...] = get_args(RoundState)
NOBODYS = "0" * 26
DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg"><title>drift</title></svg>'
HOOK = {"url": "https://example.org/hook", "event_types": ["round.settled"]}


@dataclass(frozen=True)
class Scene:
    """`ids` are the values of path parameters: of what is the own group's, or the round's."""

    app: FastAPI
    clients: dict[str, TestClient]
    ids: dict[str, str]

    def ask(self, role: str, route: str) -> int:
        """The status of a request that has nothing wrong but, perhaps, who sends it and when."""
        method, template = route.split(" ")
        path = re.sub(r"\{(\w+)\}", lambda found: self.ids[found[1]], template)
        answer = self.clients[role].request(method, path, **self._body(route))
        return answer.status_code

    def _body(self, route: str) -> dict[str, Any]:
        if route == "POST /v1/files":
            upload = {"file": ("p.jsonl", b'{"prompt": "red"}\n')}
            return {"data": {"purpose": "prompts"}, "files": upload}
        return {"json": _JSON[route] | self._named(route)} if route in _JSON else {}

    def _named(self, route: str) -> dict[str, str]:
        """What a body names that differs from scene to scene."""
        if route == "POST /v1/corpora":
            return {"document_file_ids": [self.ids["document_id"]]}  # type: ignore[dict-item]
        if route in ("POST /v1/base-models", "POST /v1/evaluations"):
            return {"file_id": self.ids["pairs_id"]}
        if route == "POST /v1/rounds":
            return {"prompts_file_id": self.ids["prompts_file_id"]}
        if route.endswith("/completions"):
            return {"model": self.ids["model_id"]}
        return {"group_id": self.ids["group_id"]} if route == "POST /v1/keys" else {}


_JSON: dict[str, dict[str, Any]] = {
    "POST /v1/groups": {"name": "a new one"},
    "POST /v1/keys": {},
    "POST /v1/keys/{key_id}/rotate": {},
    "POST /v1/rounds": round_body(""),
    "PUT /v1/rounds/{round_id}/report": report_body(),
    "POST /v1/rounds/{round_id}/reports/unseal": {"reason": "a dispute"},
    "POST /v1/rounds/{round_id}/report/preview": report_body(),
    "POST /v1/rounds/{round_id}/quote": {},
    "POST /v1/rounds/{round_id}/audits": {},
    "POST /v1/reward-models": {"name": "Spring", "reward_model": LEXICAL},
    "POST /v1/reward-models/{reward_model_id}/rerankings": {"items": ITEMS},
    "POST /v1/corpora": {"name": "Rain", "generators": [LOCAL], "teacher": LOCAL},
    "POST /v1/corpora/{corpus_id}/resume": {"budget": {}},
    "POST /v1/evaluations/{evaluation_id}/resume": {"budget": {}},
    "POST /v1/base-models": {"name": "Rain", "base_model": "tiny-enumerable"},
    "POST /v1/evaluations": {
        "name": "Rain",
        "models": [{"type": "base_model", "base_model": "tiny-enumerable"}],
    },
    "POST /v1/chat/completions": {"messages": [{"role": "user", "content": "red"}]},
    "POST /v1/completions": {"prompt": "red"},
    "POST /v1/invoices/{invoice_id}/payments": {"amount_micro_units": 1, "reference": "a transfer"},
    "POST /v1/invoices/{invoice_id}/credit-notes": {"amount_micro_units": 1, "reason": "a mistake"},
    "POST /v1/webhook-endpoints": HOOK,
    "PATCH /v1/webhook-endpoints/{webhook_endpoint_id}": {"status": "disabled"},
}


def set_scene(app: FastAPI, client: TestClient, state: RoundState) -> Scene:
    """Needs the running application on an empty database."""
    held: AppState = app.state.truthtune
    clients = _clients(client, held)
    ids = clients.pop("ids")
    operator, own = clients["operator"], clients["own"]
    ids["prompts_file_id"] = upload_jsonl(operator, "prompts", [{"prompt": "red"}])["id"]
    ids["file_id"] = upload_jsonl(own, "preferences", PAIRS)["id"]
    ids["reward_model_id"] = ready(own, held)["id"]
    ids["reranking_id"] = rerank(own, ids["reward_model_id"])["id"]
    publish_next(held)
    hook = own.post("/v1/webhook-endpoints", json=HOOK)
    ids["webhook_endpoint_id"] = hook.json()["id"]
    own.post(f"/v1/webhook-endpoints/{hook.json()['id']}/test").raise_for_status()
    ids["round_id"] = operator.post("/v1/rounds", json=round_body(ids["prompts_file_id"])).json()[
        "id"
    ]
    ids["quote_id"] = quote(operator, ids["round_id"])["id"]
    publish_next_of_these(held)
    ids |= made_of_documents(operator, held)
    _bring_to(state, held, operator, own, ids["round_id"])
    ids |= _ids_of_rows(held, ids["group_id"])
    held.database.__class__ = _Undone
    return Scene(app, clients, ids)


def _clients(client: TestClient, state: AppState) -> dict[str, Any]:
    def keyed(secret: str) -> TestClient:
        headers = {"Authorization": f"Bearer {secret}"}
        made = TestClient(client.app, raise_server_exceptions=False, headers=headers)
        made.portal = client.portal
        return made

    now = datetime.now(UTC)
    with state.database.write() as session:
        own, other = (repository.add_group(session, name, now).id for name in ("own", "other"))
    clients: dict[str, Any] = {"none": client}
    ids = {"group_id": own, "name": "adapter_model.safetensors"}
    ids["key_id"], clients["own"] = _keyed(state, keyed, own)
    _, clients["read"] = _keyed(state, keyed, own, access="read")
    _, clients["expired"] = _keyed(state, keyed, own, expires_at=now - timedelta(seconds=1))
    clients["other"] = keyed(add_key(state, "group", other))
    clients["operator"] = keyed(add_key(state, "operator", None))
    return clients | {"ids": ids}


def _keyed(state: AppState, keyed: Any, group_id: str, **fields: Any) -> tuple[str, TestClient]:
    secret = new_secret("group")
    hashed = hmac_of(secret, state.key_secret)
    with state.database.write() as session:
        now = datetime.now(UTC)
        key = repository.add_key(session, "group", group_id, "", hashed, now, **fields)
    return key.id, keyed(secret)


def _bring_to(
    to: RoundState, state: AppState, operator: TestClient, own: TestClient, round_id: str
) -> None:
    url = f"/v1/rounds/{round_id}"
    if to == "draft":
        return
    operator.post(f"{url}/open").raise_for_status()
    own.put(f"{url}/report", json=report_body()).raise_for_status()
    preview(own, round_id)
    if to == "open":
        return
    publish_next_of_these(state)
    closed = operator.post(f"{url}/close").raise_for_status().json()
    if to == "running":
        claim(state.database)
    elif to == "settled":
        train_next(state)
        settle_next(state)
        queue_audit(state.database, round_id)
        publish(state, claim(state.database))
    elif to == "failed":
        operator.post(f"/v1/jobs/{closed['job_id']}/cancel").raise_for_status()
    elif to == "cancelled":
        operator.post(f"{url}/cancel").raise_for_status()


def train_next(state: AppState) -> None:
    """Do all stages of the next round's job but the last, and hand it back."""
    drawing = state.artifacts.put(DRAWING)
    trained = state.artifacts.put_json({"candidates": [], "plots": {"reward_drift": drawing}})
    state.artifacts.put(b"some bytes")  # what DIGEST is of, in the outcome too
    held = claim(state.database)
    with state.database.write() as session:
        for stage in STAGES[:-1]:
            leases.start_stage(session, held, stage)
            leases.finish_stage(session, held, stage, trained if stage == "train" else DIGEST)
        leases.release(session, held, 0, counts=False)


def _ids_of_rows(state: AppState, group_id: str) -> dict[str, str]:
    """Of the one row of each kind that the round has; nobody's where it has none."""
    wanted = {
        "job_id": ("job", select(JobRow.id).where(JobRow.kind == "round")),
        "model_id": ("mdl", select(ModelRow.id)),
        "audit_id": ("aud", select(IncentiveAuditRow.id)),
        "preview_id": ("prv", select(PreviewRow.id)),
        "invoice_id": ("inv", select(InvoiceRow.id).where(InvoiceRow.group_id == group_id)),
        "receipt_id": ("rcpt", select(ReceiptRow.id).where(ReceiptRow.group_id == group_id)),
        "webhook_message_id": ("msg", select(func.max(WebhookMessageRow.id))),
    }
    with state.database.read() as session:
        assert session.scalar(select(func.count(RoundRow.id))) == 1
        return {
            name: session.scalar(statement) or f"{prefix}_{NOBODYS}"
            for name, (prefix, statement) in wanted.items()
        }


class _Undone(Database):
    """A database on which every write is tried, and taken back in the end."""

    @contextmanager
    def begun(self, session: Session) -> Iterator[None]:
        with super().begun(session):
            yield
            session.flush()
            session.rollback()
