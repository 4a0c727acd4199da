"""A coordinator that dies, is stopped, or loses its job: what is lost, and who goes on."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from fake_cluster import (
    TIMEOUT_SECONDS,
    TRAINED,
    FakeCluster,
    StageCancelled,
    invoices,
    job_row,
    round_of,
    running,
    status,
    until,
    wait_for_stop,
)
from scenes import (
    event_types,
    let_leases_expire,
    queue_job,
)
from sqlalchemy import update
from support import VAULT

from api_schemas.jobs import StageName
from service import coordinator
from service.database import Database, database_now
from service.jobs import leases, queue
from service.settings import Settings
from service.tables import JobRow


@pytest.mark.parametrize("stage", TRAINED)
def test_a_coordinator_that_dies_in_a_stage_loses_that_stage_only(
    database: Database, quick: Settings, cluster: FakeCluster, stage: StageName
) -> None:
    job_id = queue_job(database)
    _die_in(database, quick, cluster, stage)
    let_leases_expire(database)
    cluster.acts.clear()
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "succeeded")
    assert cluster.ran.count(stage) == 2
    assert all(cluster.ran.count(other) == 1 for other in TRAINED if other != stage)
    assert invoices(database) == 3


def test_a_coordinator_that_dies_before_the_settlement_commits_leaves_nothing_of_it(
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = queue_job(database)
    succeed = leases.succeed

    def die(*_: Any) -> None:
        raise _KilledError

    monkeypatch.setattr(leases, "succeed", die)
    with pytest.raises(_KilledError):
        coordinator.run(quick, threading.Event(), lambda _: cluster)
    assert invoices(database) == 0
    monkeypatch.setattr(leases, "succeed", succeed)
    let_leases_expire(database)
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "succeeded")
    assert cluster.ran == list(TRAINED)
    assert invoices(database) == 3


def test_a_stopped_coordinator_gives_its_job_back_at_once_and_free_of_charge(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(database)
    cluster.acts["train"] = wait_for_stop
    with running(quick, cluster):
        until(lambda: "train" in cluster.ran)
    with database.write() as session:
        held = leases.claim(session, VAULT, "another", 30, max_attempts=1)
    assert held is not None
    assert (held.job_id, held.attempt) == (job_id, 1)
    assert list(held.digests) == ["fit_rewards", "sample_pool", "score", "solve"]


def test_a_cancelled_job_stops_in_the_middle_of_a_stage(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(database)
    cluster.acts["train"] = wait_for_stop
    with running(quick, cluster):
        until(lambda: "train" in cluster.ran)
        with database.write() as session:
            queue.cancel_job_of(session, session.get_one(JobRow, job_id).round_id)
        until(lambda: status(database, job_id) == "cancelled")
    round_ = round_of(database, job_id)
    assert round_.state == "failed"
    assert round_.failure is not None
    assert round_.failure["code"] == "job_cancelled"
    assert invoices(database) == 0


def test_a_coordinator_that_lost_its_lease_stops_and_writes_no_more(
    database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(database)
    stopped = threading.Event()

    def lose_the_lease(should_stop: Callable[[], bool]) -> None:
        # One transaction, or a heartbeat in between would renew the lease.
        with database.write() as session:
            past = database_now(session) - timedelta(seconds=1)
            session.execute(update(JobRow).values(lease_expires_at=past))
            assert leases.claim(session, VAULT, "another", 30, max_attempts=9) is not None
        until(should_stop)
        stopped.set()
        raise StageCancelled

    cluster.acts["score"] = lose_the_lease
    with running(quick, cluster):
        assert stopped.wait(TIMEOUT_SECONDS)
    job = job_row(database, job_id)
    assert (job.status, job.lease_owner, job.attempts) == ("running", "another", 2)
    assert event_types(database, job_id)[-1] == "job_claimed"


@pytest.fixture
def _signals_restored() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals_restored")
def test_sigterm_gives_the_job_back_even_if_the_cluster_wanted_the_signal(
    database: Database, quick: Settings, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray does, which ends the process where it stands."""
    job_id = queue_job(database)

    def take_the_signal() -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("taken by the cluster"))

    def be_terminated(should_stop: Callable[[], bool]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for_stop(should_stop)

    monkeypatch.setattr(cluster, "start", take_the_signal)
    cluster.acts["train"] = be_terminated
    coordinator.run(quick, cluster_factory=lambda _: cluster)
    job = job_row(database, job_id)
    assert (job.status, job.lease_owner, job.attempts) == ("running", None, 0)
    assert cluster.shutdowns == 1


def test_a_coordinators_process_ends_cleanly_on_sigterm(quick: Settings) -> None:
    environment = os.environ | {
        "TRUTHTUNE_HOME": str(quick.home),
        "TRUTHTUNE_DATABASE_URL": quick.resolved_database_url,
    }
    command = [sys.executable, "-m", "service.cli", "coordinator"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "coordinator_started" in process.stderr.readline()
        process.terminate()
        _, rest = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0
    assert "coordinator_stopped" in rest


class _KilledError(BaseException):
    """Not an Exception: nothing that a coordinator does about failures runs, as after kill -9."""


def _die_in(database: Database, quick: Settings, cluster: FakeCluster, stage: StageName) -> None:
    def die(_: Callable[[], bool]) -> None:
        raise _KilledError

    cluster.acts[stage] = die
    with pytest.raises(_KilledError):
        coordinator.run(quick, threading.Event(), lambda _: cluster)
