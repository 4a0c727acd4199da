"""The application behind a real socket, and generated requests aimed at what there is."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import schemathesis
from corpus_scenes import LOCAL, made_of_documents
from reward_model_scenes import publish_next, ready, rerank
from route_scenes import train_next
from scenes import claim, publish, queue_audit, queue_job, settle_next
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served_app import serve_app
from sqlalchemy import select
from support import SEAL_KEY, add_key, round_body, upload_jsonl

from service.app import create_app
from service.dependencies import AppState
from service.settings import Settings
from service.tables import InvoiceRow, KeyRow

ANSWER_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# A request with a part replaced by a valid one may no longer be the bad one it was made to be.
ALL_CHECKS = [*ANSWER_CHECKS, negative_data_rejection]
ABOUT_SETTLED = [f"/v1/rounds/{{round_id}}/{name}" for name in ("outcome", "certificate", "audits")]
ENDLESS = "/v1/jobs/{job_id}/events/stream"
"""Of a job that nobody works on."""


@dataclass
class Figures:
    """What a campaign got."""

    statuses: Counter[int] = field(default_factory=Counter)
    routes: Counter[str] = field(default_factory=Counter)

    def note(self, case: schemathesis.Case, status: int) -> None:
        self.statuses[status] += 1
        self.routes[f"{case.method} {case.path}"] += 1

    def __str__(self) -> str:
        failed = sum(count for status, count in self.statuses.items() if status >= 500)
        by_status = ", ".join(
            f"{status}: {self.statuses[status]}" for status in sorted(self.statuses)
        )
        return (
            f"{self.statuses.total()} cases on {len(self.routes)} routes, {failed} responses of "
            f"500 or more; by status {by_status}"
        )


@dataclass(frozen=True)
class Live:
    """A real server, a key of each scope, and what generated requests may name."""

    base_url: str
    operator: dict[str, str]
    group: dict[str, str]
    ids: dict[str, str]
    protected: frozenset[str]
    """Keys that requests are sent with: one that revokes them would end the campaign."""

    figures: Figures = field(default_factory=Figures)

    def aim(self, case: schemathesis.Case) -> tuple[dict[str, str], list[Callable[..., Any]]]:
        """The headers to send the case with, and what its answer must pass.

        Ids are replaced by those of something there is: nearly every request would end at them.
        """
        headers, checks = self.operator, ALL_CHECKS
        if case.path == "/v1/rounds/{round_id}/report":
            headers = self.group
        if case.path in _AIMED or case.path.startswith(_AIMED_PREFIXES):
            checks = ANSWER_CHECKS
            ids = self.ids | {"round_id": self.ids["settled_round_id"]}
            for name in set(case.path_parameters) & set(ids):
                source = self.ids if case.path not in ABOUT_SETTLED else ids
                case.path_parameters[name] = source[name]
        if isinstance(case.body, dict) and self._amend(case.path, case.body):
            checks = ANSWER_CHECKS
        return headers, checks

    def _amend(self, path: str, body: dict[str, Any]) -> bool:
        """Whether something was replaced."""
        if path == "/v1/reward-models":
            body.pop("evaluation_file_id", None)
            return True
        if path == "/v1/corpora" and isinstance(body.get("document_file_ids"), list):
            body |= {"document_file_ids": [self.ids["document_id"]], "generators": [LOCAL]}
            body |= {"teacher": LOCAL, "replay_of": None, "seed_questions_file_id": None}
            body.pop("prompt_optimization", None)
            return True
        if path in ("/v1/base-models", "/v1/evaluations") and "name" in body:
            body |= {"file_id": self.ids["pairs_id"], "corpus_id": None}
            return True
        if path == "/v1/rounds":
            if isinstance(body.get("prompts_file_id"), str):
                body["prompts_file_id"] = self.ids["prompts_file_id"]
            if isinstance(body.get("base_model"), str):
                body["base_model"] = "tiny-enumerable"
            return True
        return False

    def spare(self, case: schemathesis.Case) -> None:
        """Keep the campaign's own keys out of a request."""
        if (case.path_parameters or {}).get("key_id") in self.protected:
            case.path_parameters["key_id"] = "key_" + "0" * 26


_AIMED = ["/v1/rounds/{round_id}/report", *ABOUT_SETTLED]
_AIMED_PREFIXES = (
    "/v1/audits/",
    "/v1/reward-models/",
    "/v1/rerankings/",
    "/v1/invoices/",
    "/v1/webhook-endpoints/",
    "/v1/corpora/",
    "/v1/base-models/",
    "/v1/evaluations/",
)


@contextmanager
def serve(database_url: str, home: Any) -> Iterator[Live]:
    """Its rate limits and quotas are not what a campaign is to meet."""
    settings = Settings(
        home=home,
        database_url=database_url,
        seal_key=SEAL_KEY,
        port=0,
        rate_limit_per_minute=0,
        failed_authentications_per_minute=0,
        quota_files=10**6,
        quota_unfinished_jobs=10**6,
        quota_keys=10**6,
    )
    app = create_app(settings)
    with serve_app(app, settings) as port:
        yield _set_scene(f"http://127.0.0.1:{port}", app.state.truthtune)


def _set_scene(base_url: str, state: AppState) -> Live:
    operator = {"Authorization": f"Bearer {add_key(state, 'operator', None)}"}
    ids = {}
    with httpx.Client(base_url=base_url, headers=operator) as client:
        group_id = client.post("/v1/groups", json={"name": "teachers"}).json()["id"]
        ids["prompts_file_id"] = upload_jsonl(client, "prompts", [{"prompt": "red"}])["id"]
        created = client.post("/v1/rounds", json=round_body(ids["prompts_file_id"]))
        ids["round_id"] = created.json()["id"]
        client.post(f"/v1/rounds/{ids['round_id']}/open").raise_for_status()
        group = {"Authorization": f"Bearer {add_key(state, 'group', group_id)}"}
        ids["reward_model_id"] = ready(client, state)["id"]
        ids["reranking_id"] = rerank(client, ids["reward_model_id"])["id"]
        publish_next(state)
        hook = client.post("/v1/webhook-endpoints", json={"url": "https://example.org/hook"})
        ids["webhook_endpoint_id"] = hook.json()["id"]
        ids |= made_of_documents(client, state)
    ids["settled_round_id"], ids["audit_id"] = _set_audited_scene(state)
    with state.database.read() as session:
        ids["invoice_id"] = session.scalars(select(InvoiceRow.id)).first() or ""
        protected = frozenset(session.scalars(select(KeyRow.id)))
    return Live(base_url, operator, group, ids, protected)


def _set_audited_scene(state: AppState) -> tuple[str, str]:
    """A settled round and a finished audit of it."""
    queue_job(state.database)
    train_next(state)
    round_id = settle_next(state).job.round_id
    queue_audit(state.database, round_id)
    held = claim(state.database)
    publish(state, held)
    assert held.job.audit is not None
    return round_id, held.job.audit.audit_id
