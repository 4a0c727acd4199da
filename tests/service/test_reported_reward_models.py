"""Reports that name reward models made ahead, or files and base models: all of it is pinned."""

from typing import Any

import pytest
from reward_model_scenes import create, preferences, publish_next, ready
from starlette.testclient import TestClient
from support import PAIRS, VAULT, MakeGroup, OpenRound, upload_jsonl

from api_schemas.jobs import ReportInput
from service.dependencies import AppState
from service.reports.repository import job_inputs
from workers import base_models

UNKNOWN = "rm_" + "0" * 26


@pytest.fixture
def group(make_group: MakeGroup) -> TestClient:
    return make_group("teachers")[1]


def test_a_report_may_name_a_reward_model_that_is_ready(
    group: TestClient, operator: TestClient, state: AppState, open_round: OpenRound
) -> None:
    opened = open_round()
    url = f"/v1/rounds/{opened['id']}/report"
    made = create(group)
    report = {"size": 3, "reward_model": {"type": "trained", "reward_model_id": made["id"]}}
    early = group.put(url, json=report)
    assert (early.status_code, early.json()["code"]) == (409, "reward_model_not_ready")
    assert early.json()["param"] == "reward_model.reward_model_id"
    publish_next(state)
    put = group.put(url, json=report)
    assert (put.status_code, put.json()["probe"]) == (200, None)
    closed = operator.post(f"/v1/rounds/{opened['id']}/close").json()
    assert closed["job_id"] is not None
    digest = group.get(f"/v1/reward-models/{made['id']}").json()["digest"]
    (report,) = _reports(state, opened["id"])
    assert report.pinned.reward_models == {made["id"]: digest}


def test_a_report_cannot_name_a_reward_model_of_another(
    group: TestClient, make_group: MakeGroup, state: AppState, open_round: OpenRound
) -> None:
    found = ready(group, state)
    _, other = make_group("pupils")
    url = f"/v1/rounds/{open_round()['id']}/report"
    answers = [
        other.put(
            url, json={"size": 1, "reward_model": {"type": "trained", "reward_model_id": name}}
        )
        for name in (found["id"], UNKNOWN)
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert {answer.json()["param"] for answer in answers} == {"reward_model.reward_model_id"}


@pytest.mark.parametrize(("has_members", "status"), [(False, 422), (True, 200)])
def test_only_a_model_with_members_enters_a_round_as_a_mixture(
    group: TestClient, state: AppState, open_round: OpenRound, has_members: bool, status: int
) -> None:
    found = ready(group, state, has_members=has_members)
    spec = {"type": "trained", "reward_model_id": found["id"], "members": "mixture"}
    url = f"/v1/rounds/{open_round()['id']}/report"
    answer = group.put(url, json={"size": 1, "reward_model": spec})
    assert answer.status_code == status
    if status == 422:
        assert answer.json()["param"] == "reward_model.members"


def test_a_reports_names_are_pinned_and_checked_as_a_reward_models_are(
    group: TestClient, operator: TestClient, state: AppState, open_round: OpenRound
) -> None:
    opened = open_round()
    url = f"/v1/rounds/{opened['id']}/report"
    spec = preferences(group, "bradley_terry", base_model="/etc")
    refused = group.put(url, json={"size": 1, "reward_model": spec})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_base_model")
    spec["method"]["base_model"] = "tiny-enumerable"
    assert group.put(url, json={"size": 1, "reward_model": spec}).status_code == 200
    closed = operator.post(f"/v1/rounds/{opened['id']}/close").json()
    (report,) = _reports(state, closed["id"])
    assert list(report.pinned.files) == [spec["file_id"]]
    revision = base_models.resolve("tiny-enumerable").revision
    assert report.pinned.base_models == {"tiny-enumerable": revision}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([{"prompt": "a", "chosen": "b", "rejected": f"c{n}"} for n in range(10)], "same prompt"),
        (PAIRS[:9], "at least 10"),
        (
            [{"prompt": f"a{n}", "responses": ["b", "c"], "votes": [1, 1]} for n in range(10)],
            "ties",
        ),
    ],
)
def test_data_that_nothing_can_be_fitted_to_is_refused_when_it_is_reported(
    make_group: MakeGroup, open_round: OpenRound, lines: list[dict[str, Any]], reason: str
) -> None:
    _, group = make_group("teachers")
    file = upload_jsonl(group, "preferences", lines)
    spec = {"type": "preference_data", "file_id": file["id"]}
    spec["method"] = {"name": "tfidf_bradley_terry"}
    url = f"/v1/rounds/{open_round()['id']}/report"
    refused = group.put(url, json={"size": 1, "reward_model": spec})
    assert refused.status_code == 422, refused.text
    assert refused.json()["param"] == "reward_model.file_id"
    assert reason in refused.json()["detail"]
    ahead = group.post("/v1/reward-models", json={"name": "a", "reward_model": spec})
    assert (ahead.status_code, ahead.json()["param"]) == (422, "reward_model.file_id")


def _reports(state: AppState, round_id: str) -> list[ReportInput]:
    with state.database.read() as session:
        return job_inputs(session, VAULT, round_id)
