"""The drawing that a training leaves, over HTTP."""

from typing import Any

import pytest
from fake_cluster import DRIFT, FakeCluster, running, status, until
from scenes import claim, queue_audit, queue_job, settled_round
from starlette.testclient import TestClient
from support import MakeGroup

from service.dependencies import AppState
from service.jobs import leases
from service.settings import Settings

URL = "/v1/jobs/{}/plots/reward_drift.svg"


def test_a_training_s_graph_can_be_had_as_soon_as_the_training_is_done(
    operator: TestClient, state: AppState, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(state.database)
    waiting = operator.get(URL.format(job_id))
    assert (waiting.status_code, waiting.json()["code"]) == (409, "stage_not_done")
    assert waiting.headers["x-should-retry"] == "false"
    with running(quick, cluster):
        until(lambda: status(state.database, job_id) == "succeeded")
    got = operator.get(URL.format(job_id))
    assert (got.status_code, got.content) == (200, DRIFT)
    assert got.headers["Content-Type"] == "image/svg+xml"
    assert got.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("left", [[{"world": "grand"}], {"candidates": []}, {"plots": {}}])
def test_a_training_that_drew_nothing_has_no_graph(
    operator: TestClient, state: AppState, left: Any
) -> None:
    job_id = queue_job(state.database)
    held = claim(state.database)
    with state.database.write() as session:
        leases.start_stage(session, held, "train")
        leases.finish_stage(session, held, "train", state.artifacts.put_json(left))
    refused = operator.get(URL.format(job_id))
    assert refused.status_code == 404
    assert "drew no reward-drift graph" in refused.json()["detail"]


def test_an_audit_has_no_training_of_its_own_to_draw(operator: TestClient, state: AppState) -> None:
    job_id = queue_audit(state.database, settled_round(state))
    refused = operator.get(URL.format(job_id))
    assert refused.status_code == 404
    assert "of kind 'audit', has no stage 'train'" in refused.json()["detail"]


def test_a_group_sees_no_graph_of_any_job(make_group: MakeGroup, state: AppState) -> None:
    _, group = make_group("teachers")
    job_id = queue_job(state.database)
    for asked in (job_id, "job_" + "0" * 26):
        assert group.get(URL.format(asked)).status_code == 403


def test_an_unknown_job_has_no_graph(operator: TestClient) -> None:
    assert operator.get(URL.format("job_" + "0" * 26)).status_code == 404
