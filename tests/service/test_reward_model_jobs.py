"""The jobs of reward models and rerankings: stages, crashes, cancelling, and whose turn it is."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fake_cluster import FakeCluster, job_row, running, status, until, wait_for_stop
from reward_model_scenes import CONTENT, create, fitted, publish, ready, rerank
from scenes import DIGEST, claim, event_types, let_leases_expire, queue_audit, settled_round
from scenes import queue_job as queue_round
from starlette.testclient import TestClient
from support import VAULT, MakeGroup

from api_schemas.errors import InvalidInput
from api_schemas.jobs import RerankingJobInput
from api_schemas.reward_models import FittedResult, Reranked, RerankedResult
from service import coordinator
from service.database import Database
from service.dependencies import AppState
from service.jobs import leases
from service.jobs.leases import CancelRequested, LeaseLost
from service.settings import Settings
from workers.artifacts import ArtifactStore


@pytest.fixture
def group(make_group: MakeGroup) -> TestClient:
    return make_group("teachers")[1]


def test_a_reward_model_is_fitted_published_and_reranks(
    group: TestClient, database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    with running(quick, cluster):
        made = create(group)
        until(lambda: status(database, made["job_id"]) == "succeeded")
        asked = rerank(group, made["id"])
        until(lambda: status(database, asked["job_id"]) == "succeeded")
    assert cluster.ran == ["fit_reward_model", "rerank"]
    found = group.get(f"/v1/reward-models/{made['id']}").json()
    assert (found["status"], found["report_card"]["n_pairs"]) == ("succeeded", 40)
    assert group.get(f"/v1/reward-models/{made['id']}/content").content == CONTENT
    done = group.get(f"/v1/rerankings/{asked['id']}").json()
    assert [each["order"] for each in done["result"]] == [[1, 2, 0], [0]]
    types = event_types(database, made["job_id"])
    assert (types[0], types[-1]) == ("job_queued", "job_succeeded")
    assert types.count("stage_finished") == 2
    messages = [_last_message(group, job["job_id"]) for job in (made, asked)]
    assert messages == ["the reward model is ready", "the responses are in order"]


def test_the_owner_sees_every_event_and_digest_of_its_own_job(
    group: TestClient, database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    with running(quick, cluster):
        made = create(group)
        until(lambda: status(database, made["job_id"]) == "succeeded")
    events = group.get(f"/v1/jobs/{made['job_id']}/events", params={"limit": 100}).json()["data"]
    assert [event["type"] for event in events] == event_types(database, made["job_id"])
    assert "stage_progress" in [event["type"] for event in events]
    streamed = group.get(f"/v1/jobs/{made['job_id']}/events/stream").text
    assert streamed.count("event: ") == len(events)
    stages = group.get(f"/v1/jobs/{made['job_id']}").json()["stages"]
    assert all(stage["digest"] for stage in stages)


@pytest.mark.parametrize("killed_in", ["fit_reward_model", "publish"])
def test_a_coordinator_that_dies_leaves_nothing_and_another_goes_on(
    group: TestClient,
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    killed_in: str,
) -> None:
    made = create(group)
    succeed = leases.succeed
    if killed_in == "publish":
        monkeypatch.setattr(leases, "succeed", _die)
    else:
        cluster.acts["fit_reward_model"] = _die
    with pytest.raises(_KilledError):
        coordinator.run(quick, threading.Event(), lambda _: cluster)
    found = group.get(f"/v1/reward-models/{made['id']}").json()
    assert (found["status"], found["digest"], found["report_card"]) == ("running", None, None)
    monkeypatch.setattr(leases, "succeed", succeed)
    cluster.acts.clear()
    let_leases_expire(database)
    with running(quick, cluster):
        until(lambda: status(database, made["job_id"]) == "succeeded")
    fits = 1 if killed_in == "publish" else 2
    assert cluster.ran == ["fit_reward_model"] * fits
    assert group.get(f"/v1/reward-models/{made['id']}").json()["digest"] is not None


def test_a_fit_that_is_refused_fails_with_its_reason_and_can_be_retried(
    group: TestClient, database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    def refuse(_: Callable[[], bool]) -> None:
        raise InvalidInput("all 40 pairs are ties", param="reward_model.file_id")

    cluster.acts["fit_reward_model"] = refuse
    made = create(group)
    with running(quick, cluster):
        until(lambda: status(database, made["job_id"]) == "failed")
        job = group.get(f"/v1/jobs/{made['job_id']}").json()
        assert job["error"]["message"] == "all 40 pairs are ties"
        assert group.get(f"/v1/reward-models/{made['id']}").json()["status"] == "failed"
        cluster.acts.clear()
        assert group.post(f"/v1/jobs/{made['job_id']}/retry").json()["status"] == "queued"
        until(lambda: status(database, made["job_id"]) == "succeeded")


@pytest.mark.parametrize("missing", ["model", "plot_sha256"])
def test_a_result_that_names_what_is_not_stored_is_not_published(
    group: TestClient,
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
) -> None:
    def lacking(artifacts: ArtifactStore) -> FittedResult:
        return fitted(artifacts, **{missing: DIGEST})

    monkeypatch.setattr("fake_cluster.fitted", lacking)
    made = create(group)
    with running(quick, cluster):
        until(lambda: status(database, made["job_id"]) == "failed")
    error = job_row(database, made["job_id"]).error
    assert error is not None
    assert DIGEST in error["message"]
    assert group.get(f"/v1/reward-models/{made['id']}").json()["digest"] is None


@pytest.mark.parametrize("order", [[0, 1], [0, 0, 1], [1, 2, 3]])
def test_an_order_that_is_none_of_the_responses_is_not_published(
    group: TestClient,
    state: AppState,
    quick: Settings,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    order: list[int],
) -> None:
    def wrong(_: RerankingJobInput) -> RerankedResult:
        ranks = [Reranked(order=order, scores=[0.0] * len(order), kl_bound=0.0)]
        return RerankedResult(result=[*ranks, Reranked(order=[0], scores=[0.0], kl_bound=0.0)])

    monkeypatch.setattr("fake_cluster.reranked", wrong)
    asked = rerank(group, ready(group, state)["id"])
    with running(quick, cluster):
        until(lambda: status(state.database, asked["job_id"]) == "failed")
    error = job_row(state.database, asked["job_id"]).error
    assert error is not None
    assert error["code"] == "inconsistent_result"
    assert group.get(f"/v1/rerankings/{asked['id']}").json()["result"] is None


def test_the_owner_cancels_a_fit_that_runs_and_it_stops_in_the_middle(
    group: TestClient, database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    cluster.acts["fit_reward_model"] = wait_for_stop
    made = create(group)
    with running(quick, cluster):
        until(lambda: "fit_reward_model" in cluster.ran)
        asked = group.post(f"/v1/jobs/{made['job_id']}/cancel").json()
        assert asked["cancel_requested"] is True
        until(lambda: status(database, made["job_id"]) == "cancelled")
    assert group.get(f"/v1/reward-models/{made['id']}").json()["status"] == "cancelled"


def test_a_group_cancels_and_retries_its_own_jobs_and_no_others(
    group: TestClient, operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    made, of_round = create(group), queue_round(state.database)
    _, pupils = make_group("pupils")
    for act in ("cancel", "retry"):
        for other in (operator, pupils):
            assert other.post(f"/v1/jobs/{made['job_id']}/{act}").status_code == 404
        refused = group.post(f"/v1/jobs/{of_round}/{act}")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert status(state.database, made["job_id"]) == "queued"
    assert group.post(f"/v1/jobs/{made['job_id']}/cancel").json()["status"] == "cancelled"
    assert group.post(f"/v1/jobs/{made['job_id']}/cancel").status_code == 409
    assert group.post(f"/v1/jobs/{made['job_id']}/retry").json()["status"] == "queued"


def test_neither_a_cancelled_nor_a_lost_job_is_published(
    group: TestClient, state: AppState
) -> None:
    made = create(group)
    former = claim(state.database)
    let_leases_expire(state.database)
    held = claim(state.database, "second")
    with pytest.raises(LeaseLost):
        publish(state, former)
    group.post(f"/v1/jobs/{made['job_id']}/cancel")
    with pytest.raises(CancelRequested):
        publish(state, held)
    assert group.get(f"/v1/reward-models/{made['id']}").json()["digest"] is None


def test_a_fit_beyond_its_attempts_fails(group: TestClient, database: Database) -> None:
    made = create(group)
    for _ in range(3):
        claim(database)
        let_leases_expire(database)
    with database.write() as session:
        assert leases.claim(session, VAULT, "fourth", 30, max_attempts=3) is None
    job = group.get(f"/v1/jobs/{made['job_id']}").json()
    assert (job["status"], job["error"]["code"]) == ("failed", "too_many_attempts")


def test_a_round_goes_before_a_fit_that_has_waited_longer(
    group: TestClient, database: Database
) -> None:
    made = create(group)
    of_round = queue_round(database)
    assert [claim(database).job_id for _ in range(2)] == [of_round, made["job_id"]]


def test_a_group_that_queues_many_fits_makes_others_wait_for_one_of_them(
    group: TestClient, operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    round_id = settled_round(state)
    many = [create(group)["job_id"] for _ in range(4)]
    assert claim(state.database).job_id == many[0]
    _, pupils = make_group("pupils")
    of_pupils = [create(pupils)["job_id"] for _ in range(2)]
    audit = queue_audit(state.database, round_id)
    of_operator = create(operator)["job_id"]
    order = [claim(state.database).job_id for _ in range(7)]
    # Whoever was served longest ago; the operator's turn takes its audits too.
    assert order == [of_pupils[0], audit, many[1], of_pupils[1], of_operator, many[2], many[3]]


def test_coordinators_at_once_take_different_jobs(group: TestClient, database: Database) -> None:
    made = {create(group)["job_id"] for _ in range(6)}
    taken: list[str] = []
    barrier = threading.Barrier(6)

    def take(owner: str) -> None:
        barrier.wait()
        with database.write() as session:
            held = leases.claim(session, VAULT, owner, 30, max_attempts=3)
        if held is not None:
            taken.append(held.job_id)

    threads = [threading.Thread(target=take, args=(f"{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == len(taken)
    taken += [claim(database).job_id for _ in range(6 - len(taken))]
    assert set(taken) == made


def _die(*_: Any) -> None:
    raise _KilledError


class _KilledError(BaseException):
    """Not an Exception: nothing that a coordinator does about failures runs, as after kill -9."""


def _last_message(client: TestClient, job_id: str) -> str:
    events = client.get(f"/v1/jobs/{job_id}/events", params={"limit": 100}).json()["data"]
    return str(events[-1]["message"])
