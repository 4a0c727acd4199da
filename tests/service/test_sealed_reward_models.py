"""A reward model tells a group's taste, so nobody else learns of it: not even that there is one."""

from collections.abc import Iterator
from typing import Any

import pytest
from reward_model_scenes import ITEMS, body, create, publish_next, rerank
from sqlalchemy import select
from starlette.testclient import TestClient
from support import MakeGroup, upload_jsonl

from service.dependencies import AppState
from service.tables import AuditRow

LISTS = ("/v1/reward-models", "/v1/jobs", "/v1/files", "/v1/rounds", "/v1/groups")
PAIRS = [{"prompt": "red", "chosen": "sun", "rejected": "rain"}]


@pytest.fixture
def teachers(make_group: MakeGroup) -> TestClient:
    return make_group("teachers")[1]


@pytest.fixture
def others(operator: TestClient, make_group: MakeGroup) -> list[TestClient]:
    return [operator, make_group("pupils")[1]]


def test_every_list_stays_as_it_was_for_all_others(
    teachers: TestClient, others: list[TestClient], state: AppState
) -> None:
    before = [[_listed(other, path) for path in LISTS] for other in others]
    for _ in _life(teachers, state):
        assert [[_listed(other, path) for path in LISTS] for other in others] == before
    assert len(teachers.get("/v1/jobs").json()["data"]) == 2


def test_whoever_guesses_an_id_finds_nothing(
    teachers: TestClient, others: list[TestClient], state: AppState
) -> None:
    for made in _life(teachers, state):
        job = f"/v1/jobs/{made['job_id']}"
        own = "/v1/rerankings" if made["object"] == "reranking" else "/v1/reward-models"
        paths = [f"{own}/{made['id']}", job, f"{job}/events", f"{job}/events/stream"]
        if made["object"] == "reward_model":
            paths += [f"{paths[0]}/{name}" for name in ("content", "report_card.svg", "rerankings")]
        for other in others:
            assert [other.get(path).status_code for path in paths] == [404] * len(paths)
            assert [other.post(f"{job}/{act}").status_code for act in ("cancel", "retry")] == [
                404,
                404,
            ]
            unknown = made["id"][:-26] + "0" * 26
            found = [other.get(f"{own}/{name}").json() for name in (made["id"], unknown)]
            details = [each["detail"].replace(made["id"], unknown) for each in found]
            assert details[0] == details[1]
            for path in ("/v1/jobs", "/v1/reward-models"):
                after = made["job_id"] if path == "/v1/jobs" else made["id"]
                assert other.get(path, params={"after": after}).status_code == 422


def test_nobody_reranks_with_anothers_model(
    teachers: TestClient, others: list[TestClient], state: AppState
) -> None:
    made = create(teachers)
    publish_next(state)
    for other in others:
        url = f"/v1/reward-models/{made['id']}/rerankings"
        assert other.post(url, json={"items": ITEMS}).status_code == 404


def test_the_metrics_and_the_audit_log_say_nothing_of_them(
    teachers: TestClient, operator: TestClient, state: AppState
) -> None:
    operator.get("/v1/rounds")  # there is something to count
    before = _counts(operator)
    for made in _life(teachers, state):
        job = f"/v1/jobs/{made['job_id']}"
        for path in (job, f"{job}/events"):
            assert teachers.get(path).status_code == 200
        teachers.post(f"{job}/retry")
    cancelled = create(teachers)
    teachers.post(f"/v1/jobs/{cancelled['job_id']}/cancel")
    teachers.get(f"/v1/jobs/{cancelled['job_id']}/events/stream")
    assert _counts(operator) == before
    with state.database.read() as session:
        assert session.scalars(select(AuditRow)).all() == []


def test_two_owners_may_use_one_idempotency_key(
    teachers: TestClient, others: list[TestClient]
) -> None:
    key = {"Idempotency-Key": "the-same"}
    answers = [
        client.post("/v1/reward-models", json=body(), headers=key) for client in (teachers, *others)
    ]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json()["id"] for answer in answers}) == 3


def _life(teachers: TestClient, state: AppState) -> Iterator[dict[str, Any]]:
    """A reward model, queued and then ready, and a reranking with it, queued and then done."""
    upload_jsonl(teachers, "preferences", PAIRS)
    made = create(teachers)
    yield made
    publish_next(state)
    yield made
    asked = rerank(teachers, made["id"])
    yield asked
    publish_next(state)
    yield asked


def _listed(client: TestClient, path: str) -> tuple[int, Any]:
    answer = client.get(path)
    body = answer.json()
    return answer.status_code, body if answer.is_success else body["detail"]


def _counts(client: TestClient) -> list[str]:
    """The lines of the metrics but for those of the metrics' own route."""
    return [line for line in client.get("/metrics").text.splitlines() if "/metrics" not in line]
