"""The coordinator over a cluster that only pretends: order, failures, second attempts."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fake_cluster import (
    TRAINED,
    FakeCluster,
    invoices,
    job_row,
    round_of,
    running,
    status,
    until,
    wait_for_stop,
)
from scenes import (
    add_groups,
    announcement,
    event_types,
    let_leases_expire,
    queue_job,
)
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from api_schemas.errors import RoundFailed
from api_schemas.jobs import STAGES, ProgressEvent
from service.database import Database, database_now
from service.jobs import leases
from service.rounds import lifecycle
from service.rounds.repository import add_round
from service.settings import Settings
from service.tables import AuditRow, InvoiceRow, JobEventRow, RoundRow


def test_a_closed_round_is_settled_stage_by_stage(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(database)
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "succeeded")
    assert cluster.ran == list(TRAINED)
    assert list(cluster.inputs["value"]) == list(TRAINED[:-1])
    assert round_of(database, job_id).state == "settled"
    assert invoices(database) == 3
    assert (cluster.starts, cluster.shutdowns) == (1, 1)
    types = event_types(database, job_id)
    assert types[:2] == ["job_queued", "job_claimed"]
    assert types[-2:] == ["stage_finished", "job_succeeded"]
    assert types.count("stage_progress") == len(TRAINED)
    assert types.count("stage_finished") == len(STAGES)


def test_an_idle_coordinator_starts_no_cluster(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    with database.write() as session:
        open_round_that_is_due(session)
    with running(quick, cluster):
        until(lambda: only_round(database).state == "failed")
    assert cluster.starts == 0


def test_a_reason_that_would_come_back_fails_the_round_at_once(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(database)

    def refuse(_: Callable[[], bool]) -> None:
        raise RoundFailed("every group was excluded", code="all_excluded")

    cluster.acts["score"] = refuse
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "failed")
    failure = {"code": "all_excluded", "message": "every group was excluded"}
    assert job_row(database, job_id).error == failure
    assert round_of(database, job_id).failure == failure
    assert cluster.ran.count("score") == 1


def test_a_machines_failure_is_tried_again_later_on_a_new_cluster(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(database)

    def fail_once(_: Callable[[], bool]) -> None:
        if cluster.ran.count("train") == 1:
            raise RuntimeError("a node with secrets in its name is gone")

    cluster.acts["train"] = fail_once
    with running(quick, cluster):
        until(lambda: "warning" in event_types(database, job_id))
        assert status(database, job_id) == "running"
        let_leases_expire(database)
        until(lambda: status(database, job_id) == "succeeded")
    assert cluster.ran == [*TRAINED[:5], "train", "value"]
    assert cluster.starts == 2
    with database.read() as session:
        messages = session.scalars(select(JobEventRow.message)).all()
    assert any("attempt 1 failed with RuntimeError" in message for message in messages)
    assert not any("secrets" in message for message in messages)


def test_a_job_that_never_works_fails_after_its_attempts(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(database)

    def fail(_: Callable[[], bool]) -> None:
        raise RuntimeError("no")

    def not_waiting() -> bool:
        let_leases_expire(database)
        return status(database, job_id) == "failed"

    cluster.acts["fit_rewards"] = fail
    with running(quick.model_copy(update={"heartbeat_seconds": 30}), cluster):
        until(not_waiting)
    assert cluster.ran == ["fit_rewards"] * quick.max_attempts
    error = job_row(database, job_id).error
    assert error is not None
    assert error["code"] == "too_many_attempts"


def test_an_event_that_cannot_be_written_stops_the_stage_and_is_tried_again(
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = queue_job(database)
    record = leases.record

    def lose_the_connection(session: Any, held: leases.Claim, event: ProgressEvent) -> None:
        if event.message == "in score" and cluster.ran.count("score") == 1:
            raise OperationalError("INSERT", {}, Exception("the connection is gone"))
        record(session, held, event)

    monkeypatch.setattr(leases, "record", lose_the_connection)
    cluster.acts["score"] = lambda should_stop: (
        wait_for_stop(should_stop) if should_stop() else None
    )
    with running(quick, cluster):
        until(lambda: "warning" in event_types(database, job_id))
        let_leases_expire(database)
        until(lambda: status(database, job_id) == "succeeded")
    assert cluster.ran.count("score") == 2


def test_a_round_closes_at_its_announced_time(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    with database.write() as session:
        round_id = open_round_that_is_due(session)
    with running(quick, cluster):
        until(lambda: only_round(database).state == "failed")
    assert only_round(database).failure == {
        "code": "no_reports",
        "message": "no group reported",
    }
    with database.read() as session:
        audited = session.scalars(select(AuditRow.action).where(AuditRow.subject == round_id)).all()
    assert "round.closed" in audited


def test_a_close_that_fails_does_not_keep_jobs_waiting(
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = queue_job(database)

    def fail(*_: Any) -> None:
        raise ValueError("a report that can't be read")

    with database.write() as session:
        open_round_that_is_due(session)
    monkeypatch.setattr(lifecycle, "close", fail)
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "succeeded")


def test_a_round_that_cannot_be_closed_does_not_keep_others_open(
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with database.write() as session:
        broken, sound = sorted(open_round_that_is_due(session) for _ in range(2))
    close = lifecycle.close

    def fail_on_one(session: Any, row: RoundRow) -> None:
        close(session, row)
        if row.id == broken:
            raise ValueError("a report that can't be read")

    monkeypatch.setattr(lifecycle, "close", fail_on_one)
    with running(quick, cluster):
        until(lambda: state_of(database, sound) == "failed")  # without reports
        assert state_of(database, broken) == "open"
        monkeypatch.setattr(lifecycle, "close", close)
        until(lambda: state_of(database, broken) == "failed")


def test_two_coordinators_settle_every_round_once(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    with database.write() as session:
        groups = add_groups(session, 2)
    jobs = [queue_job(database, groups) for _ in range(4)]
    other = FakeCluster(cluster.artifacts)
    with running(quick, cluster), running(quick, other):
        until(lambda: all(status(database, job_id) == "succeeded" for job_id in jobs))
    assert len(cluster.ran) + len(other.ran) == len(jobs) * len(TRAINED)
    with database.read() as session:
        numbers = session.scalars(select(InvoiceRow.number).order_by(InvoiceRow.number)).all()
    assert numbers == list(range(1, 9))


def test_a_cluster_that_does_not_start_is_tried_again(
    database: Database, quick: Settings, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = queue_job(database)
    start = cluster.start

    def fail_once() -> None:
        start()
        if cluster.starts == 1:
            raise ConnectionError("no cluster at that address")

    monkeypatch.setattr(cluster, "start", fail_once)
    with running(quick, cluster):
        until(lambda: "warning" in event_types(database, job_id))
        let_leases_expire(database)
        until(lambda: status(database, job_id) == "succeeded")
    assert (cluster.starts, cluster.shutdowns) == (2, 2)


def open_round_that_is_due(session: Any) -> str:
    soon = database_now(session) + timedelta(hours=1)
    round_id = add_round(session, announcement(closes_at=soon), database_now(session)).id
    session.flush()
    row = session.get_one(RoundRow, round_id)
    lifecycle.open_for_reports(session, row)
    row.closes_at = database_now(session) - timedelta(seconds=1)
    return round_id


def state_of(database: Database, round_id: str) -> str:
    with database.read() as session:
        return session.get_one(RoundRow, round_id).state


def only_round(database: Database) -> RoundRow:
    with database.read() as session:
        return session.scalars(select(RoundRow)).one()
