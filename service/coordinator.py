"""The coordinator: closes due rounds, claims jobs, drives their stages, settles or publishes.

Any number may run. What they agree on is in the database; whatever one leaves behind when it is
killed, another takes up: finished stages by their digests, the stage in flight from its start.
Beside it, webhooks are delivered.
"""

import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

import structlog

from api_schemas.errors import ClusterUnfit, StorageFull, TruthtuneError
from api_schemas.jobs import AnyJobInput, ProgressEvent, StageName, stages_of
from api_schemas.outcomes import Valued
from api_schemas.rounds import RoundFailure
from service import logs, traces
from service.database import Database
from service.jobs import attempts, leases
from service.jobs.keeper import LeaseKeeper
from service.jobs.publication import publish
from service.ledger import posting
from service.models.archive import build_archive
from service.rounds.closing import close_due_rounds
from service.settings import Settings
from service.vault import load_vault
from service.webhooks.delivery import deliverer
from workers.artifacts import ArtifactStore
from workers.tracing import Tracing

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

log = structlog.get_logger()


class Cluster(Protocol):
    """Where stages run; `workers.cluster.Cluster` in production."""

    def start(self) -> None: ...

    def shutdown(self) -> None: ...

    def run_stage(
        self,
        stage: StageName,
        job: AnyJobInput,
        inputs: Mapping[StageName, str],
        on_event: Callable[[ProgressEvent], None],
        should_stop: Callable[[], bool],
    ) -> str:
        """The digest of the stage's artifact; raises anything soon after `should_stop()`."""


class _Interrupted(Exception):
    """The stage was told to stop; the keeper, or the stop of the process, says why."""


def run(
    settings: Settings,
    stop: threading.Event | None = None,
    cluster_factory: Callable[[Settings], Cluster] | None = None,
) -> None:
    """Work until `stop` is set; without one, until SIGINT or SIGTERM, then from the main thread.

    A job in hand is given back at once, so that another coordinator goes on with it. Raises
    Unavailable if the sampler that was chosen can't run, or traces can't be sent, and InvalidInput
    for a list of endpoints that can't be used, or lacks a key.
    """
    logs.configure()
    _require_sampler(settings)
    settings.endpoint_list.with_keys()  # later one that is lost fails only what asks there
    tracing = Tracing(settings.otlp_endpoint, "truthtune-coordinator")
    database = Database(settings.resolved_database_url)
    coordinator = Coordinator(
        settings,
        database,
        _stop_on_signals() if stop is None else stop,
        cluster_factory or _ray_cluster,
        tracing,
    )
    try:
        with deliverer(settings, database, load_vault(settings)):
            coordinator.run()
    finally:
        database.dispose()
        tracing.close()


def _require_sampler(settings: Settings) -> None:
    """Raises Unavailable where a local Ray would find no vLLM; on a cluster its tasks tell."""
    if settings.sampler == "vllm" and settings.ray_address is None:
        from workers.pool.vllm_sampler import require_vllm  # torch, seconds to import

        require_vllm()


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def set_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in _STOP_SIGNALS:
        signal.signal(number, set_stop)
    return stop


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM when it starts, and would end the process with its job still held."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _ray_cluster(settings: Settings) -> Cluster:
    from workers.cluster import Cluster as RayCluster  # torch and Ray, seconds to import

    return RayCluster(
        settings.resolved_artifacts_url,
        settings.ray_address,
        settings.train_workers,
        sampler=settings.sampler,
        require_gpu=settings.require_gpu,
        shard_base_model=settings.shard_base_model,
        endpoints=settings.endpoint_list.with_keys_there_are(),
    )


class Coordinator:
    def __init__(
        self,
        settings: Settings,
        database: Database,
        stop: threading.Event,
        cluster_factory: Callable[[Settings], Cluster],
        tracing: Tracing,
    ):
        self._settings = settings
        self._tracing = tracing
        self._database = database
        self._artifacts = ArtifactStore(settings.resolved_artifacts_url)
        self._vault = load_vault(settings)
        self._stop = stop
        self._cluster_factory = cluster_factory
        self._cluster: Cluster | None = None
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    def run(self) -> None:
        log.info("coordinator_started", owner=self._owner)
        try:
            while not self._stop.is_set():
                if not self._step():
                    self._stop.wait(self._settings.poll_seconds)
        finally:
            self._drop_cluster()
            log.info("coordinator_stopped", owner=self._owner)

    def _step(self) -> bool:
        """Close what is due and work on one job; False if there was none, or no database."""
        try:
            close_due_rounds(self._database, self._tracing)
            held = self._claim()
        except Exception:  # the database is away, and may come back
            log.exception("looking_for_work_failed")
            return False
        if held is None:
            return False
        try:
            self._work(held)
        except leases.LeaseLost:
            log.warning("lease_lost", job_id=held.job_id)
        except Exception:  # its lease expires, and whoever claims it then goes on
            log.exception("job_abandoned", job_id=held.job_id)
        return True

    def _claim(self) -> leases.Claim | None:
        with self._database.write() as session:
            return leases.claim(
                session,
                self._vault,
                self._owner,
                self._settings.lease_seconds,
                self._settings.max_attempts,
            )

    def _work(self, held: leases.Claim) -> None:
        """One attempt at a job, and what its end means for the job. Raises LeaseLost."""
        log.info("job_claimed", job_id=held.job_id, attempt=held.attempt)
        with LeaseKeeper(
            self._database, held, self._settings.lease_seconds, self._settings.heartbeat_seconds
        ) as keeper:
            try:
                with traces.attempt_span(self._tracing, held):
                    self._run_stages(keeper)
            except leases.LeaseLost:
                raise
            except (_Interrupted, leases.CancelRequested) as interruption:
                self._end_interrupted(keeper, interruption)
            except (StorageFull, ClusterUnfit) as error:  # there may be room later, or a node
                self._try_again(held, error)
            except TruthtuneError as error:
                self._fail(held, error)
            except Exception as error:
                self._try_again(held, error)

    def _run_stages(self, keeper: LeaseKeeper) -> None:
        held = keeper.held
        digests = dict(held.digests)
        for stage in stages_of(held.job.kind):
            if stage in digests:
                continue
            if self._must_stop(keeper):
                raise _Interrupted
            with self._database.write() as session:
                leases.start_stage(session, held, stage)
            with traces.stage_span(self._tracing, held, stage) as span:
                if stage == "settle":
                    self._settle(held, digests["value"])
                    return
                if stage == "publish":
                    publish(self._database, self._artifacts, held, digests)
                    log.info("job_published", job_id=held.job_id, kind=held.job.kind)
                    return
                digests[stage] = self._run_stage(keeper, stage, digests)
                span.note("truthtune.digest", digests[stage])
            with self._database.write() as session:
                leases.finish_stage(session, held, stage, digests[stage], keeper.tokens or None)

    def _run_stage(
        self, keeper: LeaseKeeper, stage: StageName, digests: Mapping[StageName, str]
    ) -> str:
        keeper.tokens = 0
        try:
            return self._running_cluster().run_stage(
                stage,
                keeper.held.job,
                keeper.held.job.stage_inputs(digests),
                keeper.record,
                lambda: self._must_stop(keeper),
            )
        except Exception as error:
            if self._must_stop(keeper):  # whatever the stage raised, it was asked to end
                raise _Interrupted from error
            raise

    def _settle(self, held: leases.Claim, value_digest: str) -> None:
        valued = Valued.model_validate(self._artifacts.get_json(value_digest))
        archive = build_archive(self._artifacts, valued.adapter_files)
        outcome_digest = self._artifacts.put_json(valued.outcome.model_dump(mode="json"))
        with self._database.write() as session:
            posting.settle(session, self._vault, held, valued, archive, outcome_digest)
        log.info("round_settled", job_id=held.job_id, round_id=held.round_job.round_id)

    def _must_stop(self, keeper: LeaseKeeper) -> bool:
        return self._stop.is_set() or keeper.must_stop()

    def _end_interrupted(self, keeper: LeaseKeeper, interruption: Exception) -> None:
        held = keeper.held
        if keeper.lost.is_set():
            raise leases.LeaseLost(held.job_id) from interruption
        if keeper.cancel_requested.is_set() or isinstance(interruption, leases.CancelRequested):
            with self._database.write() as session:
                leases.cancel(session, held)
            log.info("job_cancelled", job_id=held.job_id)
        elif keeper.failure is not None:
            self._try_again(held, keeper.failure)
        else:
            with self._database.write() as session:
                leases.release(session, held, 0, counts=False)
            log.info("job_released", job_id=held.job_id)

    def _fail(self, held: leases.Claim, error: TruthtuneError) -> None:
        """A reason that another attempt would meet too."""
        with self._database.write() as session:
            leases.fail(session, held, RoundFailure(code=error.code, message=error.message))
        log.warning("job_failed", job_id=held.job_id, code=error.code, reason=error.message)

    def _try_again(self, held: leases.Claim, error: Exception) -> None:
        """A failure of machines, as far as one can tell: later, perhaps elsewhere, it may work."""
        log.error("attempt_failed", job_id=held.job_id, attempt=held.attempt, exc_info=error)
        self._drop_cluster()  # it may be what failed
        with self._database.write() as session:
            attempts.end_attempt(session, held, error, self._settings.max_attempts)

    def _running_cluster(self) -> Cluster:
        """Started at the first stage, so that an idle coordinator holds no cores and no memory."""
        if self._cluster is None:
            self._cluster = self._cluster_factory(self._settings)
            try:
                with _own_signals():
                    self._cluster.start()
            except BaseException:
                self._drop_cluster()
                raise
        return self._cluster

    def _drop_cluster(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            try:
                cluster.shutdown()
            except Exception:
                log.exception("cluster_shutdown_failed")
