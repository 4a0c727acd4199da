"""A thin Ray shell: a stage becomes tasks, their progress comes back, a cancel reaches them all.

Stages run inside one actor that owns their tasks, so that killing it ends them too
(`ray.cancel` with force can abort the driver if it meets a task that ends just then). Results are
digests of artifacts: the object store holds nothing that must survive.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import ray

from api_schemas.errors import TruthtuneError
from api_schemas.jobs import AnyJobInput, JobInput, ProgressEvent, StageName
from workers.artifacts import ArtifactStore
from workers.stages.context import Item, Job, Result, StageContext, TaskContext

_POLL_SECONDS = 0.2
_RETRIES = 3
"""Of a task or stage whose process or machine died; a task's own exceptions are not retried."""


class StageCancelled(Exception):
    """`should_stop` became true; everything the stage had started is being ended."""


@dataclass
class Cluster:
    """Runs stages on the cluster at `ray_address`, or on a local Ray that dies with this process.

    `artifacts_url` must be reachable from every node.
    """

    artifacts_url: str
    ray_address: str | None = None
    train_workers: int = 1

    def start(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 512 * 2**20}
        ray.init(
            address=self.ray_address or "local",
            logging_level=logging.WARNING,
            log_to_driver=False,
            **({} if self.ray_address else local),
        )
        self._board: Any = _ProgressBoard.remote()  # type: ignore[attr-defined]  # Ray adds it
        self._stages: Any = None

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
        StageCancelled, the stage's own TruthtuneError, or Ray's error if machines keep dying.
        """
        ray.get(self._board.take.remote())  # what a stage that was cancelled said at its end
        if self._stages is None:
            self._stages = _Stages.remote()  # type: ignore[attr-defined]  # Ray adds it
        runner = RayRunner(job, self.artifacts_url, self.train_workers, self._board)
        work = self._stages.run.remote(stage, dict(inputs), runner)
        try:
            while not ray.wait([work], timeout=_POLL_SECONDS)[0]:
                self._pass_on(on_event)
                if should_stop():
                    raise StageCancelled(f"stage {stage} was cancelled")
            digest: str = _result(work)
            return digest
        except BaseException:
            ray.kill(self._stages)
            self._stages = None
            raise
        finally:
            self._pass_on(on_event)

    def _pass_on(self, on_event: Callable[[ProgressEvent], None]) -> None:
        for event in ray.get(self._board.take.remote()):
            on_event(event)


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


def _result(reference: Any) -> Any:
    """The task's result; a TruthtuneError that it raised comes without Ray's wrapping."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TruthtuneError):
            raise error.cause from error
        raise


def _result_or(reference: Any, lost: Callable[[str], Any] | None) -> Any:
    try:
        return _result(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        if lost is None:
            raise
        return lost(f"its process died {_RETRIES + 1} times ({type(error).__name__})")


@ray.remote(num_cpus=0, max_restarts=_RETRIES, max_task_retries=_RETRIES)
class _Stages:
    """Runs stages, one after another; the tasks and trainings that they start end with it."""

    def run(self, stage: StageName, inputs: dict[StageName, str], runner: "RayRunner[Any]") -> str:
        from workers.stages.run import STAGE_FUNCTIONS

        task = task_context(runner.job, runner.artifacts_url, runner.board)
        context: StageContext[Any] = StageContext(
            task.job, task.artifacts, task.tell, inputs=inputs, runner=runner
        )
        return STAGE_FUNCTIONS[stage](context)


def _teller(board: Any) -> Callable[[ProgressEvent], None]:
    def tell(event: ProgressEvent) -> None:
        # Waited for: an event told just before a stage ends must not come after its last reading.
        ray.get(board.add.remote(event))

    return tell


@dataclass(frozen=True)
class RayRunner(Generic[Job]):
    """`Runner` on Ray: as many tasks with the model as there are GPUs, else nodes."""

    job: Job
    artifacts_url: str
    train_workers: int
    board: Any

    @property
    def model_shards(self) -> int:
        return int(ray.cluster_resources().get("GPU", 0)) or len(_node_cpus())

    def map(
        self,
        task: Callable[[TaskContext[Job], Item], Result],
        items: Sequence[Item],
        *,
        uses_model: bool,
        lost: Callable[[str], Result] | None = None,
    ) -> list[Result]:
        """Run `task` on every item; the results in the items' order. Raises the first error."""
        options = _model_resources() if uses_model else {"num_cpus": 1}
        submitted = [
            _run_task.options(**options).remote(
                task, item, self.job, self.artifacts_url, self.board
            )
            for item in items
        ]
        return [_result_or(reference, lost) for reference in submitted]

    def train(self, inputs: Mapping[StageName, str], run_name: str) -> str:
        from workers.training.ray_train import fit

        if not isinstance(self.job, JobInput):
            raise ValueError(f"a job of kind {self.job.kind!r} has nothing to train in a round")
        # A worker without a prompt would have nothing to do.
        workers = min(self.train_workers, self.job.announcement.training.gradient.prompts_per_step)
        resources = _model_resources(workers)
        return fit(
            self.job,
            inputs,
            self.artifacts_url,
            self.board,
            storage=self._training_folder,
            name=run_name,
            workers=workers,
            cpus=resources["num_cpus"],
            use_gpu="num_gpus" in resources,
        )

    def forget_training(self, run_name: str) -> None:
        if "://" in self._training_folder:
            import fsspec

            filesystem, path = fsspec.core.url_to_fs(f"{self._training_folder}/{run_name}")
            if filesystem.exists(path):
                filesystem.rm(path, recursive=True)
        else:
            shutil.rmtree(f"{self._training_folder}/{run_name}", ignore_errors=True)

    @property
    def _training_folder(self) -> str:
        """Checkpoints lie beside the artifacts, where every node can reach them."""
        return f"{ArtifactStore(self.artifacts_url).url.rstrip('/')}/training"


def task_context(job: AnyJobInput, artifacts_url: str, board: Any) -> TaskContext[Any]:
    """A context whose events go to the board."""
    return TaskContext(job, ArtifactStore(artifacts_url), _teller(board))


def use_cores(cores: int) -> None:
    """Let torch use the cores that Ray assigned: Ray sets OMP_NUM_THREADS to 1 in some workers."""
    import torch

    torch.set_num_threads(max(1, cores))


@ray.remote(max_retries=_RETRIES)  # type: ignore[untyped-decorator]
def _run_task(task: Any, item: Any, job: AnyJobInput, artifacts_url: str, board: Any) -> Any:
    use_cores(int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    return task(task_context(job, artifacts_url, board), item)


def _node_cpus() -> list[int]:
    """The cores of each live node that has any."""
    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return [count for count in cpus if count > 0]


def _model_resources(workers: int = 1) -> dict[str, Any]:
    """What each of `workers` that run the base model asks for: a GPU, or its share of a node."""
    if ray.cluster_resources().get("GPU", 0) >= 1:
        return {"num_cpus": 1, "num_gpus": 1}
    cpus = _node_cpus()
    workers_a_node = -(-workers // len(cpus))
    return {"num_cpus": max(1, min(cpus) // workers_a_node)}
