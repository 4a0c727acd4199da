"""Generated requests, valid and not, against the API's own document, over a real socket."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from reward_model_scenes import publish_next, ready, rerank
from scenes import claim, publish, queue_audit, settled_round
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support import add_key, round_body, upload_jsonl

from service.app import create_app
from service.dependencies import AppState
from service.settings import Settings

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
schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())


@dataclass(frozen=True)
class Live:
    """A real server, a key of each scope, and what generated requests may name."""

    base_url: str
    operator: dict[str, str]
    group: dict[str, str]
    prompts_file_id: str
    round_id: str
    settled_round_id: str
    audit_id: str
    reward_model_id: str
    reranking_id: str


@pytest.fixture(scope="module")
def live(new_postgres_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    home = tmp_path_factory.mktemp("home")
    app = create_app(Settings(home=home, database_url=new_postgres_database))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield _set_scene(f"http://127.0.0.1:{port}", app.state.truthtune)
    finally:
        server.should_exit = True
        thread.join()


def _set_scene(base_url: str, state: AppState) -> Live:
    operator = {"Authorization": f"Bearer {add_key(state, 'operator', None)}"}
    with httpx.Client(base_url=base_url, headers=operator) as client:
        group_id = client.post("/v1/groups", json={"name": "teachers"}).json()["id"]
        file = upload_jsonl(client, "prompts", [{"prompt": "red"}])
        created = client.post("/v1/rounds", json=round_body(file["id"]))
        round_id = created.json()["id"]
        client.post(f"/v1/rounds/{round_id}/open").raise_for_status()
        group = {"Authorization": f"Bearer {add_key(state, 'group', group_id)}"}
        reward_model_id = ready(client, state)["id"]
        reranking_id = rerank(client, reward_model_id)["id"]
        publish_next(state)
    settled_round_id, audit_id = _set_audited_scene(state)
    return Live(
        base_url,
        operator,
        group,
        file["id"],
        round_id,
        settled_round_id,
        audit_id,
        reward_model_id,
        reranking_id,
    )


def _set_audited_scene(state: AppState) -> tuple[str, str]:
    """A settled round and a finished audit of it."""
    round_id = settled_round(state)
    queue_audit(state.database, round_id)
    held = claim(state.database)
    publish(state, held)
    assert held.job.audit is not None
    return round_id, held.job.audit.audit_id


@schema.parametrize()
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_generated_requests_get_documented_answers(case: schemathesis.Case, live: Live) -> None:
    headers, checks = live.operator, ALL_CHECKS
    if case.path == "/v1/rounds/{round_id}/report":
        headers, checks = live.group, ANSWER_CHECKS
        case.path_parameters["round_id"] = live.round_id
    if case.path in ABOUT_SETTLED:
        checks = ANSWER_CHECKS
        case.path_parameters["round_id"] = live.settled_round_id
    if case.path.startswith("/v1/audits/"):
        checks = ANSWER_CHECKS
        case.path_parameters["audit_id"] = live.audit_id
    if case.path.startswith(("/v1/reward-models/", "/v1/rerankings/")):
        checks = ANSWER_CHECKS
        for name in set(case.path_parameters) & {"reward_model_id", "reranking_id"}:
            case.path_parameters[name] = getattr(live, name)
    if case.path == "/v1/reward-models" and isinstance(case.body, dict):
        # Otherwise nearly every request would end at a file that there isn't.
        checks = ANSWER_CHECKS
        if case.body.get("evaluation_file_id"):
            del case.body["evaluation_file_id"]
    if case.path == "/v1/rounds" and isinstance(case.body, dict):
        # Otherwise nearly every announcement would end at its unknown file.
        checks = ANSWER_CHECKS
        if isinstance(case.body.get("prompts_file_id"), str):
            case.body["prompts_file_id"] = live.prompts_file_id
        if isinstance(case.body.get("base_model"), str):
            case.body["base_model"] = "tiny-enumerable"
    case.call_and_validate(base_url=live.base_url, headers=headers, checks=checks)
