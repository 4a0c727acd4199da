"""A cluster that only pretends, a coordinator on it in a thread, and looks at what it did."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from corpus_scenes import left_by_last_stage
from preview_scenes import previewed, quoted
from reward_model_scenes import fitted, reranked
from scenes import (
    audited,
    store_adapter,
    valued,
)
from sqlalchemy import func, select

from api_schemas.jobs import (
    STAGES,
    AnyJobInput,
    JobInput,
    PreviewJobInput,
    ProgressEvent,
    QuoteJobInput,
    RerankingJobInput,
    StageName,
    stages_of,
)
from service import coordinator
from service.database import Database
from service.settings import Settings
from service.tables import InvoiceRow, JobRow, RoundRow
from workers.artifacts import ArtifactStore

TRAINED = STAGES[:-1]
REPLAYED = stages_of("audit")[:-1]
DRIFT = b'<svg xmlns="http://www.w3.org/2000/svg"><title>drift</title></svg>'
TIMEOUT_SECONDS = 120.0

Act = Callable[[Callable[[], bool]], None]
"""What a stage does in place of work, given `should_stop`."""


@dataclass
class FakeCluster:
    """Leaves an artifact for every stage; `acts` makes a stage do something before."""

    artifacts: ArtifactStore
    acts: dict[StageName, Act] = field(default_factory=dict)
    ran: list[StageName] = field(default_factory=list)
    inputs: dict[StageName, dict[StageName, str]] = field(default_factory=dict)
    starts: int = 0
    shutdowns: int = 0

    def start(self) -> None:
        self.starts += 1

    def shutdown(self) -> None:
        self.shutdowns += 1

    def run_stage(
        self,
        stage: StageName,
        job: AnyJobInput,
        inputs: Mapping[StageName, str],
        on_event: Callable[[ProgressEvent], None],
        should_stop: Callable[[], bool],
    ) -> str:
        self.ran.append(stage)
        self.inputs[stage] = dict(inputs)
        on_event(ProgressEvent(type="stage_progress", message=f"in {stage}"))
        if stage in self.acts:
            self.acts[stage](should_stop)
        return self._artifact(stage, job)

    def _artifact(self, stage: StageName, job: AnyJobInput) -> str:
        if (left := left_by_last_stage(self.artifacts, job)) is not None:
            return left
        if isinstance(job, RerankingJobInput):
            return self.artifacts.put_json(reranked(job).model_dump(mode="json"))
        if isinstance(job, QuoteJobInput):
            return self.artifacts.put_json(quoted(job).model_dump(mode="json"))
        if isinstance(job, PreviewJobInput):
            return self.artifacts.put(previewed(job))
        if not isinstance(job, JobInput):
            return self.artifacts.put_json(fitted(self.artifacts).model_dump(mode="json"))
        if stage == "value":
            found = valued(job, files=store_adapter(self.artifacts))
            return self.artifacts.put_json(found.model_dump(mode="json"))
        if stage == "retrain":
            found_by_audit = audited(job, self.artifacts)
            return self.artifacts.put_json(found_by_audit.model_dump(mode="json"))
        if stage == "train":
            drawn = self.artifacts.put(DRIFT)
            return self.artifacts.put_json({"candidates": [], "plots": {"reward_drift": drawn}})
        return self.artifacts.put_json({"stage": stage, "round": job.round_id})


class StageCancelled(Exception):
    """As a cluster raises it when it was told to stop."""


def wait_for_stop(should_stop: Callable[[], bool]) -> None:
    until(should_stop)
    raise StageCancelled


@contextmanager
def running(settings: Settings, cluster: FakeCluster) -> Iterator[None]:
    """A coordinator in a thread, stopped and gone at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=coordinator.run, args=(settings, stop, lambda _: cluster))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def job_row(database: Database, job_id: str) -> JobRow:
    with database.read() as session:
        return session.get_one(JobRow, job_id)


def round_of(database: Database, job_id: str) -> RoundRow:
    with database.read() as session:
        return session.get_one(RoundRow, session.get_one(JobRow, job_id).round_id)


def status(database: Database, job_id: str) -> str:
    return job_row(database, job_id).status


def invoices(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(InvoiceRow)) or 0
