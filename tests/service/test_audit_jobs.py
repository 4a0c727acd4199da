"""An audit's job: stages, crashes, cancelling; and a round that stays settled whatever happens."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fake_cluster import (
    REPLAYED,
    TRAINED,
    FakeCluster,
    job_row,
    round_of,
    running,
    status,
    until,
    wait_for_stop,
)
from scenes import (
    DIGEST,
    audited,
    claim,
    event_types,
    let_leases_expire,
    publish,
    queue_audit,
    queue_job,
    settled_round,
)
from sqlalchemy import select
from starlette.testclient import TestClient
from support import VAULT

from api_schemas.audits import Audited
from api_schemas.errors import RoundFailed
from api_schemas.jobs import JobInput, StageName
from service import coordinator
from service.database import Database
from service.dependencies import AppState
from service.jobs import leases
from service.jobs.leases import CancelRequested, LeaseLost
from service.settings import Settings
from service.tables import AuditRow, IncentiveAuditRow
from workers.artifacts import ArtifactStore


@pytest.fixture
def round_id(state: AppState) -> str:
    return settled_round(state)


@pytest.fixture
def job_id(database: Database, round_id: str) -> str:
    """The job of an audit, queued."""
    return queue_audit(database, round_id)


def test_an_audit_is_replayed_retrained_and_published(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    own = queue_job(database)
    with running(quick, cluster):
        until(lambda: status(database, own) == "succeeded")
        settled = round_of(database, own)
        job_id = queue_audit(database, settled.id)
        until(lambda: status(database, job_id) == "succeeded")
    assert cluster.ran == [*TRAINED, *REPLAYED]
    assert list(cluster.inputs["replay"]) == list(TRAINED)
    assert list(cluster.inputs["retrain"]) == [*TRAINED, "replay"]
    assert cluster.inputs["replay"]["score"] == cluster.inputs["train"]["score"]
    after = round_of(database, job_id)
    assert (after.state, after.settled_at) == ("settled", settled.settled_at)
    assert _audit(database, job_id).result is not None
    types = event_types(database, job_id)
    assert (types[0], types[-1]) == ("job_queued", "job_succeeded")
    assert types.count("stage_finished") == 3
    with database.read() as session:
        assert "audit.published" in session.scalars(select(AuditRow.action)).all()


@pytest.mark.parametrize("stage", REPLAYED)
def test_a_coordinator_that_dies_in_a_stage_of_an_audit_loses_that_stage_only(
    database: Database, quick: Settings, cluster: FakeCluster, job_id: str, stage: StageName
) -> None:
    cluster.acts[stage] = _die
    with pytest.raises(_KilledError):
        coordinator.run(quick, threading.Event(), lambda _: cluster)
    assert round_of(database, job_id).state == "settled"
    cluster.acts.clear()
    let_leases_expire(database)
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "succeeded")
    assert all(cluster.ran.count(name) == 1 + (name == stage) for name in REPLAYED)
    assert round_of(database, job_id).state == "settled"


def test_a_coordinator_that_dies_before_it_has_published_leaves_nothing_of_it(
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    job_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    succeed = leases.succeed
    monkeypatch.setattr(leases, "succeed", _die)
    with pytest.raises(_KilledError):
        coordinator.run(quick, threading.Event(), lambda _: cluster)
    assert _audit(database, job_id).result is None
    assert _audit(database, job_id).plot_digest is None
    monkeypatch.setattr(leases, "succeed", succeed)
    let_leases_expire(database)
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "succeeded")
    assert cluster.ran == list(REPLAYED)
    assert _audit(database, job_id).result is not None


def test_an_audit_whose_plot_is_missing_is_not_published(
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    job_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_plot(job: JobInput, artifacts: ArtifactStore) -> Audited:
        return audited(job, artifacts).model_copy(update={"plot_sha256": DIGEST})

    monkeypatch.setattr("fake_cluster.audited", without_plot)
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "failed")
    error = job_row(database, job_id).error
    assert error is not None
    assert DIGEST in error["message"]
    assert _audit(database, job_id).result is None
    assert round_of(database, job_id).state == "settled"


def test_an_audit_that_fails_leaves_the_round_settled_and_can_be_retried(
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    job_id: str,
    operator: TestClient,
) -> None:
    def refuse(_: Callable[[], bool]) -> None:
        raise RoundFailed("a misreport has no score", code="bad_misreport")

    cluster.acts["retrain"] = refuse
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "failed")
        round_ = round_of(database, job_id)
        assert (round_.state, round_.failure) == ("settled", None)
        assert job_row(database, job_id).error == {
            "code": "bad_misreport",
            "message": "a misreport has no score",
        }
        cluster.acts.clear()
        retried = operator.post(f"/v1/jobs/{job_id}/retry")
        assert (retried.status_code, retried.json()["status"]) == (200, "queued")
        until(lambda: status(database, job_id) == "succeeded")
    assert cluster.ran == ["replay", "retrain", "retrain"]
    assert round_of(database, job_id).state == "settled"


def test_an_audit_beyond_its_attempts_leaves_the_round_settled(
    database: Database, job_id: str
) -> None:
    for _ in range(3):
        claim(database)
        let_leases_expire(database)
    with database.write() as session:
        assert leases.claim(session, VAULT, "fourth", 30, max_attempts=3) is None
    assert status(database, job_id) == "failed"
    round_ = round_of(database, job_id)
    assert (round_.state, round_.failure) == ("settled", None)


def test_a_waiting_audit_that_is_cancelled_leaves_the_round_settled(
    database: Database, job_id: str, operator: TestClient
) -> None:
    cancelled = operator.post(f"/v1/jobs/{job_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    round_ = round_of(database, job_id)
    assert (round_.state, round_.failure) == ("settled", None)
    assert operator.post(f"/v1/jobs/{job_id}/cancel").status_code == 409
    assert operator.post(f"/v1/jobs/{job_id}/retry").json()["status"] == "queued"
    assert round_of(database, job_id).state == "settled"


def test_a_running_audit_that_is_cancelled_stops_in_the_middle_of_its_stage(
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    job_id: str,
    operator: TestClient,
) -> None:
    cluster.acts["retrain"] = wait_for_stop
    with running(quick, cluster):
        until(lambda: "retrain" in cluster.ran)
        asked = operator.post(f"/v1/jobs/{job_id}/cancel").json()
        assert asked["cancel_requested"] is True
        until(lambda: status(database, job_id) == "cancelled")
    round_ = round_of(database, job_id)
    assert (round_.state, round_.failure) == ("settled", None)
    assert _audit(database, job_id).result is None


def test_cancelling_one_audit_leaves_the_others_of_its_round(
    database: Database, round_id: str, job_id: str, operator: TestClient
) -> None:
    other = queue_audit(database, round_id)
    operator.post(f"/v1/jobs/{job_id}/cancel")
    assert (status(database, job_id), status(database, other)) == ("cancelled", "queued")


def test_an_audit_that_is_to_be_cancelled_is_not_published(
    state: AppState, job_id: str, operator: TestClient
) -> None:
    held = claim(state.database)
    operator.post(f"/v1/jobs/{job_id}/cancel")
    with pytest.raises(CancelRequested):
        publish(state, held)
    assert _audit(state.database, job_id).result is None


def test_a_former_holder_cannot_publish(state: AppState, job_id: str) -> None:
    former = claim(state.database)
    let_leases_expire(state.database)
    claim(state.database, "second")
    with pytest.raises(LeaseLost):
        publish(state, former)
    assert _audit(state.database, job_id).result is None


def test_a_round_goes_before_an_audit_that_has_waited_longer(
    database: Database, job_id: str
) -> None:
    own = queue_job(database)
    assert claim(database).job_id == own
    assert claim(database, "second").job_id == job_id


def _die(*_: Any) -> None:
    raise _KilledError


class _KilledError(BaseException):
    """Not an Exception: nothing that a coordinator does about failures runs, as after kill -9."""


def _audit(database: Database, job_id: str) -> IncentiveAuditRow:
    with database.read() as session:
        of_job = select(IncentiveAuditRow).where(IncentiveAuditRow.job_id == job_id)
        return session.scalars(of_job).one()
