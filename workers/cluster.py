"""A thin Ray shell: a stage becomes tasks, their progress comes back, a cancel reaches them all.

Stages run inside one actor that owns their tasks, so that killing it ends them too
(`ray.cancel` with force can abort the driver if it meets a task that ends just then). Results are
digests of artifacts: the object store holds nothing that must survive.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from api_schemas.errors import ClusterUnfit
from api_schemas.jobs import (
    AnyJobInput,
    BaseModelJobInput,
    CorpusJobInput,
    EvaluationJobInput,
    JobInput,
    PreviewJobInput,
    ProgressEvent,
    QuoteJobInput,
    StageName,
)
from api_schemas.language_models import EndpointAccess
from workers import own_base_models, ray_address
from workers.artifacts import ArtifactStore
from workers.cluster_room import cluster_rooms
from workers.language_models.access import granted
from workers.ray_results import result
from workers.ray_runner import RayRunner, task_context, task_span
from workers.room import known_to_all, look_here, require_room
from workers.stages.context import StageContext
from workers.tracing import current_link

if TYPE_CHECKING:
    from workers.pool.samplers import SamplerName

_POLL_SECONDS = 0.2
_TRAININGS: tuple[StageName, ...] = ("train", "retrain")
"""Stages whose end by force leaves cores reserved until the connection to Ray has ended: Ray Train
cleans up with the dashboard's help, which a local Ray hasn't."""
_LOOK_SECONDS = 5.0
"""Between two looks whether the cluster is still there."""
_GONE_SECONDS = 20.0
"""So long a cluster may be away, as when its head restarts; after 60 s Ray ends this process."""


class StageCancelled(Exception):
    """`should_stop` became true; everything the stage had started is being ended."""


@dataclass
class Cluster:
    """Runs stages on the cluster at `ray_address`, or on a local Ray that dies with this process.

    `artifacts_url` must be reachable from every node. `require_gpu` refuses a job where no node has
    one; `shard_base_model` spreads the base model's layers over a training's workers. Whether there
    is room for more of these is looked at every `resize_seconds`: what they did since the last
    checkpoint they do again then. `endpoints` are the operator's, with their keys.
    """

    artifacts_url: str
    ray_address: str | None = None
    train_workers: int = 1
    sampler: "SamplerName" = "torch"
    require_gpu: bool = False
    shard_base_model: bool = False
    resize_seconds: float = 60.0
    endpoints: tuple[EndpointAccess, ...] = ()

    def start(self) -> None:
        """Raises ClusterUnfit, within two minutes, if no Ray answers at `ray_address`."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 512 * 2**20}
        if self.ray_address is not None:
            _require_answer(self.ray_address)
        ray.init(
            address=self.ray_address or "local",
            logging_level=logging.WARNING,
            log_to_driver=False,
            **({} if self.ray_address else local),
        )
        self._board: Any = _here(_ProgressBoard).remote()
        self._stages: Any = None
        self._has_room_for: AnyJobInput | None = None
        self._has_leftovers = False

    def shutdown(self) -> None:
        ray.shutdown()

    def run_stage(
        self,
        stage: StageName,
        job: AnyJobInput,
        inputs: Mapping[StageName, str],
        on_event: Callable[[ProgressEvent], None],
        should_stop: Callable[[], bool],
    ) -> str:
        """Run a stage to its end; the digest of what it leaves.

        `on_event` is called in this thread, in the order in which each worker spoke. Raises
        ClusterUnfit before the first stage of a job that the cluster has no room for, or when the
        cluster is lost; StageCancelled, the stage's own TruthtuneError, or Ray's error if machines
        keep dying.
        """
        if self._has_leftovers:
            self.shutdown()
            self.start()
        if job is not self._has_room_for:
            self._require_room(job)
            self._has_room_for = job
        ray.get(self._board.take.remote())  # what a stage that was cancelled said at its end
        if self._stages is None:
            self._stages = _here(_Stages).remote()
        work = self._stages.run.remote(stage, dict(inputs), self._runner(job))
        watch = _Watch(self.ray_address)
        try:
            while not ray.wait([work], timeout=_POLL_SECONDS)[0]:
                self._pass_on(on_event)
                if should_stop():
                    raise StageCancelled(f"stage {stage} was cancelled")
                watch.look()
            digest: str = result(work)
            return digest
        except BaseException:
            ray.kill(self._stages)
            self._stages = None
            self._has_leftovers = stage in _TRAININGS
            raise
        finally:
            if not watch.gone:
                self._pass_on(on_event)

    def _runner(self, job: AnyJobInput) -> RayRunner[Any]:
        return RayRunner(
            job,
            self.artifacts_url,
            self.train_workers,
            self._board,
            sampler=self.sampler,
            # A local Ray has one node: nothing of it can be lost, nothing can come.
            elastic=self.ray_address is not None,
            resize_seconds=self.resize_seconds,
            shard_base_model=self.shard_base_model,
            trace=current_link(),
            endpoints=self.endpoints,
        )

    def _require_room(self, job: AnyJobInput) -> None:
        models = _base_models_of(job)
        for name, revision in models.items():
            if own_base_models.is_own(name):
                own_base_models.materialise(ArtifactStore(self.artifacts_url), name, revision)
        names = list(models)
        if self.ray_address is None:
            has = ray.cluster_resources()
            rooms = [look_here(int(has.get("CPU", 0)), int(has.get("GPU", 0)), names)]
        else:
            own = filter(own_base_models.is_own, names)
            rooms = known_to_all(cluster_rooms(names), look_here(0, 0, list(own)).weights)
        require_room(rooms, names, require_gpu=self.require_gpu)

    def _pass_on(self, on_event: Callable[[ProgressEvent], None]) -> None:
        for event in ray.get(self._board.take.remote()):
            on_event(event)


def _base_models_of(job: AnyJobInput) -> dict[str, str]:
    """The base models that a job's stages run, with their revisions; reports' own are not told."""
    match job:
        case JobInput() | QuoteJobInput() | PreviewJobInput():
            rules = job.announcement
            return {rules.base_model: rules.base_model_revision}
        case CorpusJobInput():
            return dict(job.base_models)
        case BaseModelJobInput():
            return {job.settings.base_model: job.base_model_revision}
        case EvaluationJobInput():
            return job.base_models | {each.base_model: each.revision for each in job.models}
        case _:
            return {}


@dataclass
class _Watch:
    """Notices that the cluster is gone before Ray does, which then ends this process."""

    address: str | None
    gone: bool = False

    def __post_init__(self) -> None:
        self._looked = self._answered = time.monotonic()

    def look(self) -> None:
        """Raises ClusterUnfit once nothing has answered for long enough."""
        now = time.monotonic()
        if self.address is None or now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        reason = ray_address.refusal(self.address)
        if reason is None:
            self._answered = now
        elif now - self._answered > _GONE_SECONDS:
            self.gone = True
            raise ClusterUnfit(
                f"the Ray cluster at TRUTHTUNE_RAY_ADDRESS {self.address!r} was lost while it "
                f"worked: {reason}"
            )


def _require_answer(address: str) -> None:
    reason = ray_address.refusal(address)
    if reason is None:
        found = ray_address.resources(address)
        reason = found if isinstance(found, str) else None
    if reason is not None:
        raise ClusterUnfit(
            f"no Ray answers at TRUTHTUNE_RAY_ADDRESS {address!r}: {reason}; start it, or mend the "
            "setting (with token authentication RAY_AUTH_MODE and RAY_AUTH_TOKEN too)"
        )


def _here(actor: Any) -> Any:
    """An actor of this process's own node: the death of another must not take it away.

    Not `soft`: Ray puts such an actor elsewhere whenever it likes that better.
    """
    node = ray.get_runtime_context().get_node_id()
    return actor.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))


@ray.remote(num_cpus=0)
class _ProgressBoard:
    """Where workers leave events until the driver, which has no address, fetches them."""

    def __init__(self) -> None:
        self.events: list[ProgressEvent] = []

    def add(self, event: ProgressEvent) -> None:
        self.events.append(event)

    def take(self) -> list[ProgressEvent]:
        taken, self.events = self.events, []
        return taken


@ray.remote(num_cpus=0)
class _Stages:
    """Runs stages, one after another; the tasks and trainings that they start end with it.

    Never restarted by Ray: a training that died with it still has its cores reserved, and its
    successor would wait for them for ever. The coordinator begins again with a new connection.
    """

    def run(self, stage: StageName, inputs: dict[StageName, str], runner: "RayRunner[Any]") -> str:
        from workers.stages.run import STAGE_FUNCTIONS

        task = task_context(runner.job, runner.artifacts_url, runner.board)
        context: StageContext[Any] = StageContext(
            task.job,
            task.artifacts,
            task.tell,
            inputs=inputs,
            runner=runner,
            endpoints=runner.endpoints,
        )
        with (
            task_span(runner.trace, f"run {stage}"),
            granted(task.artifacts, runner.endpoints),
        ):
            return STAGE_FUNCTIONS[stage](context)
