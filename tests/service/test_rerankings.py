"""Best-of-n over HTTP: responses of any number of prompts, put in a reward model's order."""

from typing import Any

import pytest
from fake_cluster import job_row
from reward_model_scenes import ITEMS, create, publish_next, ready, rerank
from starlette.testclient import TestClient
from support import MakeGroup, count_rows

from api_schemas.jobs import RerankingJobInput, stages_of
from service.dependencies import AppState
from service.tables import JobRow, RerankingRow

KEY = {"Idempotency-Key": "6f1c2a"}
UNKNOWN = "rrk_" + "0" * 26


@pytest.fixture
def group(make_group: MakeGroup) -> TestClient:
    return make_group("teachers")[1]


def test_a_reranking_waits_for_a_job_with_the_models_digest_and_the_responses(
    group: TestClient, state: AppState
) -> None:
    found = ready(group, state)
    made = rerank(group, found["id"])
    assert (made["reward_model_id"], made["status"]) == (found["id"], "queued")
    assert made["result"] is None
    assert group.get(f"/v1/rerankings/{made['id']}").json() == made
    job = group.get(f"/v1/jobs/{made['job_id']}").json()
    assert (job["kind"], job["reranking_id"]) == ("reranking", made["id"])
    assert (job["reward_model_id"], job["round_id"]) == (None, None)
    assert [stage["name"] for stage in job["stages"]] == list(stages_of("reranking"))
    given = RerankingJobInput.model_validate(job_row(state.database, made["job_id"]).input)
    assert (given.fitted, given.reranking_id) == (found["digest"], made["id"])
    assert [item.model_dump() for item in given.items] == ITEMS


def test_a_finished_reranking_has_an_order_for_every_prompt_and_lists_leave_it_out(
    group: TestClient, state: AppState
) -> None:
    found = ready(group, state)
    made = rerank(group, found["id"])
    publish_next(state)
    done = group.get(f"/v1/rerankings/{made['id']}").json()
    assert done["status"] == "succeeded"
    assert [each["order"] for each in done["result"]] == [[1, 2, 0], [0]]
    assert done["result"][0]["scores"] == [3.0, 6.0, 4.0]
    (listed,) = group.get(f"/v1/reward-models/{found['id']}/rerankings").json()["data"]
    assert listed == done | {"result": None}


def test_rerankings_are_listed_newest_first_by_reward_model(
    group: TestClient, state: AppState
) -> None:
    first, second = ready(group, state), ready(group, state)
    rerank(group, second["id"])
    made = [rerank(group, first["id"])["id"] for _ in range(3)]
    url = f"/v1/reward-models/{first['id']}/rerankings"
    page = group.get(url, params={"limit": 2}).json()
    assert [each["id"] for each in page["data"]] == made[:0:-1]
    rest = group.get(url, params={"after": page["last_id"]}).json()
    assert [each["id"] for each in rest["data"]] == made[:1]


def test_a_reranking_asked_for_twice_under_one_key_is_one(
    group: TestClient, state: AppState
) -> None:
    url = f"/v1/reward-models/{ready(group, state)['id']}/rerankings"
    first = group.post(url, json={"items": ITEMS}, headers=KEY)
    again = group.post(url, json={"items": ITEMS}, headers=KEY)
    assert (again.status_code, again.json()) == (201, first.json())
    assert group.post(url, json={"items": ITEMS[:1]}, headers=KEY).status_code == 422
    assert (count_rows(state, RerankingRow), count_rows(state, JobRow)) == (1, 2)


def test_nothing_is_reranked_before_the_reward_model_is_ready(
    group: TestClient, state: AppState
) -> None:
    made = create(group)
    url = f"/v1/reward-models/{made['id']}/rerankings"
    refused = group.post(url, json={"items": ITEMS})
    assert (refused.status_code, refused.json()["code"]) == (409, "reward_model_not_ready")
    assert refused.headers["x-should-retry"] == "false"
    assert group.post(f"/v1/jobs/{made['job_id']}/cancel").json()["status"] == "cancelled"
    assert "is cancelled" in group.post(url, json={"items": ITEMS}).json()["detail"]
    assert count_rows(state, RerankingRow) == 0


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        ({"items": []}, "items"),
        ({"items": [{"prompt": "a", "responses": []}]}, "items[0].responses"),
        ({"items": [{"prompt": "a"}]}, "items[0].responses"),
        ({"items": [{"prompt": "a", "responses": [1]}]}, "items[0].responses[0]"),
        ({"items": [{"prompt": "a", "responses": ["b"] * 1025}]}, "items[0].responses"),
        ({"items": ITEMS * 501}, "items"),
        ({}, "items"),
    ],
)
def test_what_cannot_be_reranked_is_named(
    group: TestClient, state: AppState, request_body: Any, param: str
) -> None:
    url = f"/v1/reward-models/{ready(group, state)['id']}/rerankings"
    refused = group.post(url, json=request_body)
    assert (refused.status_code, refused.json()["param"]) == (422, param), refused.text
    assert count_rows(state, RerankingRow) == 0


def test_rerankings_are_their_owners_alone(
    group: TestClient, operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    found = ready(group, state)
    made = rerank(group, found["id"])
    publish_next(state)
    _, pupils = make_group("pupils")
    rerankings = f"/v1/reward-models/{found['id']}/rerankings"
    for other in (operator, pupils):
        assert other.get(f"/v1/rerankings/{made['id']}").status_code == 404
        assert other.get(rerankings).status_code == 404
        assert other.post(rerankings, json={"items": ITEMS}).status_code == 404
    assert group.get(f"/v1/rerankings/{UNKNOWN}").status_code == 404
