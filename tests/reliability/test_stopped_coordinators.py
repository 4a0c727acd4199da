"""A coordinator stopped past its lease and continued, as on a machine that hangs: it must not write
into a job that another has taken up meanwhile."""

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from campaigns import scaled
from coordinators import SIGNED
from databases import Databases
from fork_server import ForkServer
from scenes import queue_job
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError
from support import SEAL_KEY

from service.database import Database
from service.tables import InvoiceRow, JobEventRow, JobRow, JobStageRow
from workers.artifacts import ArtifactStore

LEASE_SECONDS = 0.5
GROUPS = 3
_WORK_SECONDS = 0.8
"""About what the stages take, so that a stop meets any of them."""
_ENOUGH_SECONDS = 60.0


@pytest.fixture
def campaign(databases: Databases, fork_server: ForkServer, tmp_path: Path) -> Iterator["Campaign"]:
    campaign = Campaign(databases.new(), fork_server, tmp_path)
    yield campaign
    campaign.end()


def test_a_coordinator_stopped_past_its_lease_writes_nothing_stale(campaign: "Campaign") -> None:
    campaign.run(times=2)
    assert campaign.stale_writes == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_stops_past_the_lease_write_nothing_stale(
    campaign: "Campaign", databases: Databases
) -> None:
    times = scaled(50)
    campaign.run(times)
    print(
        f"\nSIGSTOP past the lease, {databases.kind}: {campaign.stops} stops, {campaign.taken_over}"
        f" jobs taken over meanwhile, {campaign.stale_writes} stale writes"
    )
    assert campaign.stale_writes == 0
    assert campaign.taken_over >= times // 3


class Campaign:
    """Two coordinators; the one that holds the job is stopped at a random moment, again and again.

    On SQLite a process that is stopped in the middle of a transaction holds the database's lock:
    nobody takes its job over, and what it writes when it is continued is not stale.
    """

    def __init__(self, url: str, fork_server: ForkServer, folder: Path):
        self.database = Database(url)
        if self.database.is_sqlite:  # not 30 s: a process that is stopped in a commit locks all out
            event.listen(self.database.engine, "connect", _wait_shortly)
        self.stops = self.taken_over = self.stale_writes = 0
        self._fork_server, self._log = fork_server, folder / "coordinators.log"
        self._random = random.Random(20260)
        settings = {
            "home": str(folder),
            "database_url": url,
            "seal_key": SEAL_KEY,
            "lease_seconds": LEASE_SECONDS,
            "heartbeat_seconds": LEASE_SECONDS / 6,
            "poll_seconds": 0.05,
            "max_attempts": 1000,
        }
        self._artifacts = ArtifactStore(str(folder / "artifacts"))
        self._pids = {
            name: fork_server.start(
                "coordinators:coordinate", self._log, settings=settings, name=name
            )
            for name in ("one", "other")
        }

    def end(self) -> None:
        for pid in self._pids.values():
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGTERM)
            self._fork_server.wait(pid)
        self.database.dispose()

    def run(self, times: int) -> None:
        for _ in range(times):
            self._run_one(queue_job(self.database))

    def _run_one(self, job_id: str) -> None:
        self._stop_the_holder(job_id)
        self._until(lambda: self._row(job_id).status == "succeeded")
        self.stale_writes += self._stale(job_id)

    def _stop_the_holder(self, job_id: str) -> None:
        self._until(lambda: self._row(job_id).lease_owner is not None)
        time.sleep(self._random.uniform(0, _WORK_SECONDS))
        row = self._row(job_id)
        if row.lease_owner is None:  # the job is done already
            return
        holder = int(row.lease_owner.split(":")[1])
        os.kill(holder, signal.SIGSTOP)
        self.stops += 1
        deadline = time.monotonic() + LEASE_SECONDS + 2
        while time.monotonic() < deadline and not self._is_taken_over(job_id, holder):
            time.sleep(0.02)
        self.taken_over += self._is_taken_over(job_id, holder)
        time.sleep(self._random.uniform(0, 0.2))
        os.kill(holder, signal.SIGCONT)

    def _is_taken_over(self, job_id: str, holder: int) -> bool:
        try:
            owner = self._row(job_id).lease_owner
        except OperationalError:  # locked
            return False
        return owner is None or int(owner.split(":")[1]) != holder

    def _stale(self, job_id: str) -> int:
        """What was signed by another than the one who had the claim, and ends too many."""
        with self.database.read() as session:
            events = session.execute(
                select(JobEventRow.type, JobEventRow.data)
                .where(JobEventRow.job_id == job_id)
                .order_by(JobEventRow.sequence)
            ).all()
            stages = select(JobStageRow.stage, JobStageRow.digest)
            digests = dict(session.execute(stages.where(JobStageRow.job_id == job_id)).all())
            of_round = InvoiceRow.round_id == session.get_one(JobRow, job_id).round_id
            invoices = session.scalar(select(func.count()).where(of_round)) or 0
        claims: list[Counter[str]] = []
        for type_, data in events:
            if type_ == "job_claimed":
                claims.append(Counter())
            elif type_ == "stage_finished" and data["stage"] in SIGNED:
                claims[-1][self._artifacts.get_json(digests[data["stage"]])["by"]] += 1
            elif "by" in data:
                claims[-1][data["by"]] += 1
        ends = [type_ for type_, _ in events].count("job_succeeded")
        foreign = sum(signers.total() - max(signers.values()) for signers in claims if signers)
        return foreign + abs(ends - 1) + abs(invoices - GROUPS)

    def _row(self, job_id: str) -> JobRow:
        with self.database.read() as session:
            return session.get_one(JobRow, job_id)

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _ENOUGH_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.01)


def _wait_shortly(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA busy_timeout = 3000")
