"""All worlds' training as one Ray Train run: workers share the prompts, steps are resumable."""

import tempfile
from collections.abc import Mapping
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
from api_schemas.jobs import JobInput, StageName
from workers.tensors import pack, unpack
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
    workers: int,
    cpus: int,
    use_gpu: bool,
) -> str:
    """Train, or go on from the last checkpoint of the run `name`; the digest of the result.

    Raises the TruthtuneError of a worker as itself.
    """
    resources = {"CPU": cpus, "GPU": 1} if use_gpu else {"CPU": cpus}
    config = {
        "job": job.model_dump_json(),
        "inputs": dict(inputs),
        "artifacts_url": artifacts_url,
        "board": board,
        "cpus": cpus,
    }
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config=config,
        # Held-out values are summed on the CPU, gradients where they are.
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=use_gpu, resources_per_worker=resources
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
    from workers.cluster import task_context, use_cores
    from workers.stages.train import train_loop

    world = ray.train.get_context()
    use_cores(config["cpus"])
    context = task_context(
        JobInput.model_validate_json(config["job"]), config["artifacts_url"], config["board"]
    )
    return train_loop(
        context,
        config["inputs"],
        shares=Together(world.get_world_rank(), world.get_world_size()),
        restore=_restore,
        save=_save,
    )


@dataclass(frozen=True)
class Together:
    """The workers of a Ray Train run, which has joined them into one torch process group."""

    rank: int
    size: int

    def add_up(self, tensors: list[Tensor]) -> None:
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)


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
