"""A full disk ends a job under its name, and the job goes on once there is room."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import TRAINED, FakeCluster, invoices, job_row, round_of, running, status, until
from scenes import claim, event_types, let_leases_expire, queue_job
from sqlalchemy import Engine, event, select, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient
from support import count_rows, upload_jsonl

import workers.artifacts
from api_schemas.errors import StorageFull
from service.database import Database, database_now
from service.dependencies import AppState
from service.failures import (
    DATABASE_UNAVAILABLE,
    INTERNAL_ERROR,
    OUT_OF_MEMORY,
    STORAGE_FULL,
    WORKER_DIED,
    Failure,
    name_failure,
)
from service.jobs import queue
from service.jobs.leases import JOB_CANCELLED
from service.rounds import lifecycle
from service.settings import Settings
from service.tables import FileRow, JobEventRow, JobRow, RoundRow
from workers.artifacts import ArtifactStore


def _no_room(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def retry(database: Database, job_id: str) -> None:
    with database.write() as session:
        row = session.get_one(JobRow, job_id)
        queue.retry(session, row)
        lifecycle.move(session, session.get_one(RoundRow, row.round_id), "closed")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow one another without the pause between them."""
    monkeypatch.setattr("service.jobs.attempts._LONGEST_BACKOFF_SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("stage", ["fit_rewards", "train", "value"])
def test_a_full_artifact_store_ends_the_job_by_its_name_and_a_retry_settles(
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    stage: Any,
) -> None:
    job_id = queue_job(database)
    sync = workers.artifacts.os.fsync
    cluster.acts[stage] = lambda _: monkeypatch.setattr(workers.artifacts.os, "fsync", _no_room)
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "failed")
        job = job_row(database, job_id)
        assert job.error is not None
        assert job.error["code"] == "storage_full"
        assert "the last of 3 attempts" in job.error["message"]
        assert round_of(database, job_id).failure == job.error
        assert event_types(database, job_id).count("warning") == quick.max_attempts - 1
        assert invoices(database) == 0
        cluster.acts.clear()
        monkeypatch.setattr(workers.artifacts.os, "fsync", sync)
        retry(database, job_id)
        until(lambda: status(database, job_id) == "succeeded")
    assert invoices(database) == 3
    assert {cluster.ran.count(done) for done in TRAINED[: TRAINED.index(stage)]} <= {1}


def test_an_attempt_that_met_a_full_disk_says_so_and_the_next_one_waits(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(database)
    cluster.acts["train"] = _no_room
    with running(quick, cluster):
        until(lambda: "warning" in event_types(database, job_id))
    row = job_row(database, job_id)
    with database.read() as session:
        told = session.scalars(
            select(JobEventRow.data).where(
                JobEventRow.job_id == job_id, JobEventRow.type == "warning"
            )
        ).one()
        now = database_now(session)
    assert told == {"attempt": 1, "delay_seconds": 2.0, "code": "storage_full"}
    assert (row.status, row.lease_owner, row.attempts) == ("running", None, 1)
    assert row.lease_expires_at is not None
    assert row.lease_expires_at > now


def test_a_full_sqlite_database_stops_a_job_until_there_is_room(
    settings: Settings,
) -> None:
    """Nothing can be written meanwhile, not even that: so the job waits, and then goes on."""
    if not Database(settings.resolved_database_url).is_sqlite:
        pytest.skip("PostgreSQL's own disk can't be filled here")
    pages = _PageLimit()
    database = Database(settings.resolved_database_url)
    patient = settings.model_copy(
        update={
            "lease_seconds": 0.5,
            "heartbeat_seconds": 0.1,
            "poll_seconds": 0.05,
            "max_attempts": 1000,
        }
    )
    cluster = FakeCluster(ArtifactStore(settings.resolved_artifacts_url))
    job_id = queue_job(database)
    cluster.acts["solve"] = lambda _: pages.fill(database)
    with pages.enforced(), running(patient, cluster):
        until(lambda: pages.refused > 0)
        cluster.acts.clear()
        assert status(database, job_id) == "running"
        assert invoices(database) == 0
        pages.make_room(database)
        until(lambda: status(database, job_id) == "succeeded")
    assert invoices(database) == 3
    database.dispose()


class _PageLimit:
    """A disk of so many pages; `refused` counts the writes that found it full."""

    def __init__(self) -> None:
        self.pages, self.refused = 0, 0

    @contextmanager
    def enforced(self) -> Iterator[None]:
        event.listen(Engine, "checkout", self._limit)
        event.listen(Engine, "handle_error", self._count)
        try:
            yield
        finally:
            event.remove(Engine, "checkout", self._limit)
            event.remove(Engine, "handle_error", self._count)

    def fill(self, database: Database) -> None:
        with database.write() as session:
            session.execute(text("CREATE TABLE ballast (bytes BLOB)"))
            pages = session.scalar(text("PRAGMA page_count")) or 0
        self.pages = pages + 8
        with pytest.raises(OperationalError, match="full"):
            self._write_for_ever(database)
        self.refused = 0

    def _write_for_ever(self, database: Database) -> None:
        while True:
            with database.write() as session:
                session.execute(text("INSERT INTO ballast VALUES (zeroblob(100))"))

    def make_room(self, database: Database) -> None:
        self.pages = 10**6
        with database.write() as session:
            session.execute(text("DROP TABLE ballast"))

    def _limit(self, connection: sqlite3.Connection, *_: object) -> None:
        if self.pages:
            connection.execute(f"PRAGMA max_page_count = {self.pages}")

    def _count(self, context: ExceptionContext) -> None:
        self.refused += name_failure(context.original_exception) is STORAGE_FULL


def test_an_upload_to_a_full_disk_is_refused_by_name_and_works_later(
    operator: TestClient, state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(workers.artifacts.os, "fsync", _no_room)
        refused = operator.post(
            "/v1/files",
            data={"purpose": "prompts"},
            files={"file": ("p.jsonl", b'{"prompt": "hi"}')},
        )
    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    assert refused.headers["Retry-After"] == "5"
    assert count_rows(state, FileRow) == 0
    assert list(Path(state.artifacts.url).glob(".partial-*")) == []
    assert upload_jsonl(operator, "prompts", [{"prompt": "hi"}])["id"]


def test_a_request_while_the_database_is_away_is_asked_to_come_again(
    operator: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, ConnectionError("connection refused"))

    monkeypatch.setattr(Database, "looking", away)
    answer = operator.get("/v1/groups")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert "connection refused" not in answer.text


def _wrapped(cause: BaseException) -> Exception:
    """As Ray hands on what a task raised, and Python what an `except` did."""
    outer = RuntimeError("a task failed")
    outer.cause = cause  # type: ignore[attr-defined]
    last = ValueError("the stage failed")
    last.__cause__ = outer
    return last


def _ray_error(name: str) -> Exception:
    return type(name, (Exception,), {"__module__": "ray.exceptions"})("of Ray")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OSError(errno.ENOSPC, "no space"), STORAGE_FULL),
        (OSError(errno.EDQUOT, "quota"), STORAGE_FULL),
        (OSError(errno.EACCES, "denied"), INTERNAL_ERROR),
        (StorageFull("full"), STORAGE_FULL),
        (_ray_error("OutOfDiskError"), STORAGE_FULL),
        (_ray_error("OutOfMemoryError"), OUT_OF_MEMORY),
        (MemoryError(), OUT_OF_MEMORY),
        (_ray_error("WorkerCrashedError"), WORKER_DIED),
        (_ray_error("LocalRayletDiedError"), WORKER_DIED),
        (_ray_error("RayTaskError"), INTERNAL_ERROR),
        (OperationalError("SELECT", {}, ConnectionError()), DATABASE_UNAVAILABLE),
        (RuntimeError("a fault of ours"), INTERNAL_ERROR),
    ],
)
def test_a_failure_is_named_by_its_cause_however_it_is_wrapped(
    error: Exception, failure: Failure
) -> None:
    assert name_failure(error) == failure
    assert name_failure(_wrapped(error)) == failure


def test_a_failed_round_is_not_closed_a_second_time(
    operator: TestClient, database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    """Its job may be tried again; a second one would settle it twice."""
    job_id = queue_job(database)
    with database.write() as session:
        queue.cancel_job_of(session, session.get_one(JobRow, job_id).round_id)
        row = session.get_one(JobRow, job_id)
        round_row = session.get_one(RoundRow, row.round_id)
        lifecycle.fail(session, round_row, JOB_CANCELLED)
    refused = operator.post(f"/v1/rounds/{round_row.id}/close")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")
    assert operator.post(f"/v1/jobs/{job_id}/retry").status_code == 200
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "succeeded")


def test_the_job_of_a_cancelled_round_can_be_cancelled_where_its_coordinator_died(
    operator: TestClient, database: Database
) -> None:
    job_id = queue_job(database)
    round_id = claim(database).round_job.round_id
    assert operator.post(f"/v1/rounds/{round_id}/cancel").status_code == 200
    let_leases_expire(database)
    cancelled = operator.post(f"/v1/jobs/{job_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert operator.get(f"/v1/rounds/{round_id}").json()["state"] == "cancelled"
