"""A cluster that is away, or lacks what a job needs, ends the job by name before anything is spent,
and the job goes on once that is mended."""

from dataclasses import dataclass, field
from typing import NoReturn

import pytest
from fake_cluster import FakeCluster, invoices, job_row, round_of, running, status, until
from scenes import event_types, queue_job
from sqlalchemy import select

from api_schemas.errors import ClusterUnfit, EndpointUnavailable
from service.database import Database
from service.jobs import queue
from service.rounds import lifecycle
from service.settings import Settings
from service.tables import JobEventRow, JobRow, RoundRow

AWAY = ClusterUnfit("no Ray answers at TRUTHTUNE_RAY_ADDRESS 'head:6379': Connection refused")
NO_GPU = ClusterUnfit("TRUTHTUNE_REQUIRE_GPU is true, and no node has a GPU", code="no_gpu")
NO_REPLY = EndpointUnavailable("a judge's endpoint gives no replies for now (status 503)")


@dataclass
class UnfitCluster(FakeCluster):
    """Raises `unfit` where the real one does: at its start if it is away, else before a stage."""

    unfit: list[ClusterUnfit] = field(default_factory=list)

    def start(self) -> None:
        super().start()
        if AWAY in self.unfit:
            raise AWAY


@pytest.mark.parametrize("unfit", [AWAY, NO_GPU, NO_REPLY], ids=lambda unfit: unfit.code)
def test_a_job_that_finds_no_fit_cluster_ends_by_name_and_a_retry_settles(
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    unfit: ClusterUnfit,
) -> None:
    monkeypatch.setattr("service.jobs.attempts._LONGEST_BACKOFF_SECONDS", 0.0)

    def refuse(_: object) -> NoReturn:
        raise unfit

    job_id = queue_job(database)
    weak = UnfitCluster(cluster.artifacts, unfit=[unfit])
    weak.acts["fit_rewards"] = refuse
    with running(quick, weak):
        until(lambda: status(database, job_id) == "failed")
        job = job_row(database, job_id)
        assert job.error is not None
        assert job.error["code"] == unfit.code
        assert job.error["message"].startswith(unfit.message)
        assert "the last of 3 attempts" in job.error["message"]
        assert round_of(database, job_id).failure == job.error
        assert _told(database, job_id) == [unfit.code] * (quick.max_attempts - 1)
        assert "stage_finished" not in event_types(database, job_id)
        weak.unfit.clear()
        weak.acts.clear()
        with database.write() as session:
            row = session.get_one(JobRow, job_id)
            queue.retry(session, row)
            lifecycle.move(session, session.get_one(RoundRow, row.round_id), "closed")
        until(lambda: status(database, job_id) == "succeeded")
    assert invoices(database) == 3


def _told(database: Database, job_id: str) -> list[str]:
    """The codes of the warnings that say why an attempt failed."""
    with database.read() as session:
        told = session.scalars(
            select(JobEventRow.data).where(
                JobEventRow.job_id == job_id, JobEventRow.type == "warning"
            )
        )
        return [data["code"] for data in told]
