"""All worlds' training as one Ray Train run: workers share the prompts, steps are resumable.

How many workers there are is nobody's secret and nobody's gain: a step's prompts are the same, and
gradients and held-out sums are sums over them, which another number of workers only adds up in
another order (float32 for the gradients, float64 for what is held out).
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from torch import Tensor

from api_schemas.errors import TruthtuneError
from api_schemas.jobs import JobInput, ProgressEvent, StageName
from api_schemas.language_models import EndpointAccess
from workers.base_models import BaseModel, default_device, dtype_on, load_own
from workers.language_models.access import granted
from workers.stages.context import TaskContext
from workers.tensors import pack, unpack
from workers.tracing import current_link
from workers.training import checkpoints
from workers.training.train_worlds import WorldsTrainer

_MAX_FAILURES = 5
"""Deaths of workers that a run survives, each from its last checkpoint."""
_CHECKPOINT_FILE = "trainer.safetensors"


def fit(
    job: JobInput,
    inputs: Mapping[StageName, str],
    artifacts_url: str,
    board: Any,
    *,
    storage: str,
    name: str,
    workers: int | tuple[int, int],
    cpus: int,
    use_gpu: bool,
    resize_seconds: float,
    shard_base_model: bool,
    endpoints: tuple[EndpointAccess, ...] = (),
) -> str:
    """Train, or go on from the last checkpoint of the run `name`; the digest of the result.

    Of a pair of `workers`, the fewest and the most, there are as many as find room; whether that
    has changed is looked at every `resize_seconds`. A worker's TruthtuneError is raised as itself.
    """
    resources = {"CPU": cpus, "GPU": 1} if use_gpu else {"CPU": cpus}
    config = {
        "job": job.model_dump_json(),
        "inputs": dict(inputs),
        "artifacts_url": artifacts_url,
        "board": board,
        "cpus": cpus,
        "shard_base_model": shard_base_model,
        "trace": current_link(),
        "endpoints": endpoints,
    }
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config=config,
        # Held-out values are summed on the CPU, gradients where they are.
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=use_gpu,
            resources_per_worker=resources,
            elastic_resize_monitor_interval_s=resize_seconds,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        for failure in getattr(error, "worker_failures", {}).values():
            cause = getattr(failure, "cause", failure)
            if isinstance(cause, TruthtuneError):
                raise cause from error
        raise
    digest: str = result.return_value
    return digest


def _train_worker(config: dict[str, Any]) -> str:
    from workers.ray_runner import task_context, task_span, use_cores
    from workers.stages.train import train_loop

    world = ray.train.get_context()
    use_cores(config["cpus"])
    context = task_context(
        JobInput.model_validate_json(config["job"]),
        config["artifacts_url"],
        config["board"],
        config["endpoints"],
    )
    shares = Together(world.get_world_rank(), world.get_world_size())
    if shares.rank == 0:
        context.tell(_begun(shares.size))
    if config["shard_base_model"] and shares.size > 1:
        context = _with_sharded_base(context, shares)
    with (
        task_span(config["trace"], f"training worker {shares.rank}", last=True),
        granted(context.artifacts, context.endpoints),
    ):
        return train_loop(context, config["inputs"], shares=shares, restore=_restore, save=_save)


def _begun(workers: int) -> ProgressEvent:
    return ProgressEvent(
        type="stage_progress",
        message=f"train: begun, or gone on with, by {workers} workers",
        data={"stage": "train", "workers": workers},
    )


@dataclass
class Together:
    """The workers of a Ray Train run, which has joined them into one torch process group.

    `wait` is what a worker does that has done its share while others have not: nothing, unless they
    need it for the layers that it holds.
    """

    rank: int
    size: int
    wait: Callable[[], None] = lambda: None

    def add_up(self, tensors: list[Tensor]) -> None:
        if self.size > 1:
            self.wait()
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)


@dataclass(frozen=True)
class _WithBase(TaskContext[JobInput]):
    """A context with a base model of its own."""

    base: BaseModel

    def base_model(self) -> BaseModel:
        return self.base


def _with_sharded_base(context: TaskContext[JobInput], shares: "Together") -> TaskContext[JobInput]:
    """The base model is read into the machine's memory first: a GPU need not hold it whole."""
    from workers.training import sharded_base

    device, rules = str(default_device()), context.job.announcement
    base = load_own(rules.base_model, rules.base_model_revision, "cpu", dtype_on(device))
    shares.wait = sharded_base.shard(base, device).rest
    return _WithBase(
        context.job, context.artifacts, context.tell, base, endpoints=context.endpoints
    )


def _save(trainer: WorldsTrainer) -> None:
    """Called by every worker after the same step: `report` waits for all of them."""
    metrics = {"step": trainer.step}
    if trainer.shares.rank > 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, _CHECKPOINT_FILE).write_bytes(pack(*checkpoints.state(trainer)))
        ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))


def _restore(trainer: WorldsTrainer) -> None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            checkpoints.restore(trainer, *unpack(Path(folder, _CHECKPOINT_FILE).read_bytes()))
