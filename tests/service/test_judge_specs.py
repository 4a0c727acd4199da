"""Groups' judges: only models that the operator lets them ask, checked before anything is kept."""

from pathlib import Path
from typing import Any

import pytest
from reward_model_scenes import body, create, ready
from scenes import claim
from sqlalchemy import select
from starlette.testclient import TestClient
from support import VAULT, MakeGroup, OpenRound

from api_schemas.jobs import RewardModelJobInput
from service.dependencies import AppState
from service.reports.repository import job_inputs
from service.settings import Settings
from service.tables import GroupRow
from workers import base_models

TABLE = """
[open]
url = "http://127.0.0.1:1/v1"
models = ["judge"]
groups_may_use = true
[operators]
url = "http://127.0.0.1:1/v1"
models = ["judge"]
"""
OPEN = {"type": "endpoint", "endpoint": "open", "model": "judge"}
LOCAL = {"type": "local", "base_model": "tiny-enumerable"}


ON_THE_POOL = {"method": "pool_gradient"}
MIXTURE = {
    "value_on": "mixture",
    "counterfactuals": "retrain",
    "pool": {"method": "sample", "samples_per_prompt": 4},
}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    path = tmp_path / "endpoints.toml"
    path.write_text(TABLE)
    return settings.model_copy(update={"endpoints": path})


@pytest.fixture
def group(make_group: MakeGroup) -> TestClient:
    return make_group("teachers")[1]


def judge(by: dict[str, str], **fields: Any) -> dict[str, Any]:
    return {"type": "judge", "judge": by, "criteria": "Friendly to beginners."} | fields


@pytest.mark.parametrize("by", [OPEN, LOCAL])
def test_a_judge_may_be_made_ahead_or_reported_and_is_never_probed(
    group: TestClient,
    operator: TestClient,
    state: AppState,
    open_round: OpenRound,
    by: dict[str, str],
) -> None:
    made = create(group, judge(by))
    assert made["reward_model"]["judge"] == by
    opened = open_round(training=ON_THE_POOL)
    put = group.put(
        f"/v1/rounds/{opened['id']}/report", json={"size": 3, "reward_model": judge(by)}
    )
    assert (put.status_code, put.json()["probe"]) == (200, None), put.text
    operator.post(f"/v1/rounds/{opened['id']}/close")
    with state.database.read() as session:
        (report,) = job_inputs(session, VAULT, opened["id"])
    pinned = {"tiny-enumerable": base_models.resolve("tiny-enumerable").revision}
    assert report.pinned.base_models == (pinned if by is LOCAL else {})


@pytest.mark.parametrize(
    ("by", "param", "code"),
    [
        (OPEN | {"endpoint": "operators"}, "judge.endpoint", "unknown_endpoint"),
        (OPEN | {"endpoint": "nowhere"}, "judge.endpoint", "unknown_endpoint"),
        (OPEN | {"model": "another"}, "judge.model", "unknown_endpoint"),
        (LOCAL | {"base_model": "/etc"}, "judge.base_model", "unknown_base_model"),
        (LOCAL | {"base_model": "all-minilm-l6-v2"}, "judge.base_model", "unknown_base_model"),
    ],
)
def test_a_judge_that_groups_may_not_ask_is_refused_by_its_field(
    group: TestClient, open_round: OpenRound, by: dict[str, str], param: str, code: str
) -> None:
    url = f"/v1/rounds/{open_round(training=ON_THE_POOL)['id']}/report"
    for answer in (
        group.post("/v1/reward-models", json=body(judge(by))),
        group.put(url, json={"size": 1, "reward_model": judge(by)}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
        assert answer.json()["param"] == f"reward_model.{param}"
    assert "operators" not in answer.json()["detail"].replace("'operators'", "")


@pytest.mark.parametrize(
    ("announced", "named"),
    [
        ({}, ["training.method"]),
        (MIXTURE, ["training.method", "value_on"]),
        (MIXTURE | {"training": ON_THE_POOL}, ["value_on"]),
        (
            {"training": {"method": "rewarded_soups"}, "counterfactuals": "soup"},
            ["training.single.method"],
        ),
    ],
)
def test_no_judge_is_reported_where_new_responses_are_asked_about_again_and_again(
    group: TestClient,
    state: AppState,
    open_round: OpenRound,
    announced: dict[str, Any],
    named: list[str],
) -> None:
    """One group's outage would spoil the training, or the mixture, for all."""
    made = ready(group, state, method="local_judge")
    url = f"/v1/rounds/{open_round(**announced)['id']}/report"
    for spec in (judge(OPEN), {"type": "trained", "reward_model_id": made["id"]}):
        report = {"size": 1, "reward_model": spec}
        for answer in (group.put(url, json=report), group.post(f"{url}/preview", json=report)):
            assert answer.status_code == 422, answer.text
            problem = answer.json()
            assert (problem["code"], problem["param"]) == (
                "judge_not_allowed",
                "reward_model.type",
            )
            for field in named:
                assert field in problem["detail"]
    made = ready(group, state, method="lexical")
    allowed = {"size": 1, "reward_model": {"type": "trained", "reward_model_id": made["id"]}}
    assert group.put(url, json=allowed).status_code == 200


def test_a_reward_model_made_ahead_belongs_to_its_group(group: TestClient, state: AppState) -> None:
    create(group, judge(OPEN))
    with state.database.read() as session:
        groups = list(session.scalars(select(GroupRow.id)))
    job = claim(state.database).job
    assert isinstance(job, RewardModelJobInput)
    assert [job.owner_id] == groups
