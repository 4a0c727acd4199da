"""Spreads a stage over a Ray cluster: a task an item, a training over its workers."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import ray

from api_schemas.jobs import AnyJobInput, JobInput, ProgressEvent, StageName
from api_schemas.language_models import EndpointAccess
from workers import own_base_models
from workers.artifacts import ArtifactStore
from workers.language_models.access import granted
from workers.ray_results import result
from workers.remote_stores import remote_filesystem
from workers.stages.context import Item, Job, Result, TaskContext
from workers.tracing import Span, TraceLink, continued, current_link

if TYPE_CHECKING:
    from workers.pool.samplers import SamplerName

_RETRIES = 3
"""Of a task or stage whose process or machine died; a task's own exceptions are not retried."""


@dataclass(frozen=True)
class RayRunner(Generic[Job]):
    """`Runner` on Ray: as many tasks with the model as there are GPUs, else nodes."""

    job: Job
    artifacts_url: str
    train_workers: int
    board: Any
    sampler: "SamplerName" = "torch"
    elastic: bool = False
    """Whether a training has fewer workers when a node dies, and more when one comes."""
    resize_seconds: float = 60.0
    shard_base_model: bool = False
    trace: TraceLink | None = None
    """The stage's span, which those of its tasks are below."""
    endpoints: tuple[EndpointAccess, ...] = ()

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
                task, item, self.job, self.artifacts_url, self.board, current_link(), self.endpoints
            )
            for item in items
        ]
        return [_result_or(reference, lost) for reference in submitted]

    def train(self, inputs: Mapping[StageName, str], run_name: str) -> str:
        from workers.training.ray_train import fit

        if not isinstance(self.job, JobInput):
            raise ValueError(f"a job of kind {self.job.kind!r} has nothing to train in a round")
        # A worker without a prompt would have nothing to do.
        workers = min(
            self.train_workers,
            self.job.announcement.training.gradient.prompts_at_once or self.train_workers,
        )
        resources = _model_resources(workers)
        return fit(
            self.job,
            inputs,
            self.artifacts_url,
            self.board,
            storage=self._training_folder,
            name=run_name,
            workers=(1, workers) if self._may_shrink(workers) else workers,
            cpus=resources["num_cpus"],
            use_gpu="num_gpus" in resources,
            resize_seconds=self.resize_seconds,
            shard_base_model=self.shard_base_model,
            endpoints=self.endpoints,
        )

    def _may_shrink(self, workers: int) -> bool:
        """Fewer workers would each have a larger part of a sharded base model: they may have no
        room for it, so such a training waits for its nodes."""
        return self.elastic and workers > 1 and not self.shard_base_model

    def forget_training(self, run_name: str) -> None:
        if "://" in self._training_folder:
            filesystem, path = remote_filesystem(f"{self._training_folder}/{run_name}")
            if filesystem.exists(path):
                filesystem.rm(path, recursive=True)
        else:
            shutil.rmtree(f"{self._training_folder}/{run_name}", ignore_errors=True)

    @property
    def _training_folder(self) -> str:
        """Checkpoints lie beside the artifacts, where every node can reach them."""
        return f"{ArtifactStore(self.artifacts_url).url.rstrip('/')}/training"


def task_context(
    job: AnyJobInput, artifacts_url: str, board: Any, endpoints: tuple[EndpointAccess, ...] = ()
) -> TaskContext[Any]:
    """A context whose events go to the board. Base models made here come from its artifacts."""
    artifacts = ArtifactStore(artifacts_url)
    own_base_models.fetch_from(artifacts)
    return TaskContext(job, artifacts, _teller(board), endpoints=endpoints)


def use_cores(cores: int) -> None:
    """Let torch use the cores that Ray assigned: Ray sets OMP_NUM_THREADS to 1 in some workers."""
    import torch

    torch.set_num_threads(max(1, cores))


@ray.remote(max_retries=_RETRIES)  # type: ignore[untyped-decorator]
def _run_task(
    task: Any,
    item: Any,
    job: AnyJobInput,
    artifacts_url: str,
    board: Any,
    trace: TraceLink | None,
    endpoints: tuple[EndpointAccess, ...],
) -> Any:
    use_cores(int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    context = task_context(job, artifacts_url, board, endpoints)
    with (
        task_span(trace, f"task {task.__module__}.{task.__name__}"),
        granted(context.artifacts, endpoints),
    ):
        return task(context, item)


def task_span(
    trace: TraceLink | None, name: str, *, last: bool = False
) -> AbstractContextManager[Span]:
    """Of work on a node, which it names: what a trace shows to stand still may be there. For `last`
    see `continued`."""
    node = {} if trace is None else {"ray.node_id": ray.get_runtime_context().get_node_id()}
    return continued(trace, name, node, last=last)


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


def _result_or(reference: Any, lost: Callable[[str], Any] | None) -> Any:
    try:
        return result(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        if lost is None:
            raise
        return lost(f"its process died {_RETRIES + 1} times ({type(error).__name__})")


def _teller(board: Any) -> Callable[[ProgressEvent], None]:
    def tell(event: ProgressEvent) -> None:
        # Waited for: an event told just before a stage ends must not come after its last reading.
        ray.get(board.add.remote(event))

    return tell
