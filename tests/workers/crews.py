"""Several training workers on the tiny model: threads of this process, or processes.

Processes are forks of a program that has imported everything once (this file): the test's own may
have threads and must not fork.
"""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_support import tiny_base

from workers.base_models import BaseModel
from workers.tensors import pack, unpack
from workers.training import checkpoints, sharded_base
from workers.training.ray_train import Together
from workers.training.registry import TRAINERS
from workers.training.shares import Shares
from workers.training.task import TrainingTask

Trained = tuple[dict[str, Tensor], dict[str, Any]]
"""As `checkpoints.state` gives it."""
DEADLINE_SECONDS = 120.0


def own_base(dtype: torch.dtype) -> BaseModel:
    """A copy of the tiny model: adapters change the layers that they are attached to."""
    base = tiny_base()
    return replace(base, model=copy.deepcopy(base.model).to(dtype))


def train(task: TrainingTask, base: BaseModel, shares: Shares | None = None) -> Trained:
    trainer = TRAINERS[task.settings.method](base, task, shares)
    list(trainer.train())
    return checkpoints.state(trainer)


def train_in_threads(task: TrainingTask, workers: int, dtype: torch.dtype) -> list[Trained]:
    """What each of the workers ends with."""
    crew, ended = _Crew(workers), dict[int, Trained]()

    def work(rank: int) -> None:
        try:
            ended[rank] = train(task, own_base(dtype), _Place(crew, rank))
        except BaseException:
            crew.barrier.abort()
            raise

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [ended[rank] for rank in range(workers)]


class _Crew:
    def __init__(self, size: int):
        self.size = size
        self.barrier = threading.Barrier(size, timeout=DEADLINE_SECONDS)
        self.brought: list[list[Tensor]] = [[] for _ in range(size)]


class _Place:
    """One thread's shares: sums are taken in the order of the ranks."""

    def __init__(self, crew: _Crew, rank: int):
        self.crew, self.rank, self.size = crew, rank, crew.size

    def add_up(self, tensors: list[Tensor]) -> None:
        self.crew.brought[self.rank] = [tensor.clone() for tensor in tensors]
        self.crew.barrier.wait()
        for place, tensor in enumerate(tensors):
            tensor.copy_(sum(brought[place] for brought in self.crew.brought))
        self.crew.barrier.wait()  # before anybody brings the next


def train_sharded(
    tasks: list[TrainingTask],
    workers: int,
    dtype: torch.dtype,
    folder: Path,
    constants: Mapping[str, int],
) -> list[list[Trained]]:
    """What each worker ends with in each task; `held` in its JSON says how many of the layers'
    numbers it then holds. The modules' `constants` are replaced first."""
    (folder / "work").write_bytes(pickle.dumps((tasks, workers, dtype, dict(constants))))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [sys.executable, __file__, str(folder)],
        env=environment,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    return [
        [unpack((folder / f"{place}-{rank}").read_bytes()) for rank in range(workers)]
        for place in range(len(tasks))
    ]


def _main(folder: Path) -> None:
    tasks, workers, dtype, constants = pickle.loads((folder / "work").read_bytes())
    torch.set_num_threads(1)
    tiny_base()  # once for all forks
    for target, value in constants.items():
        pytest.MonkeyPatch().setattr(target, value)
    forked = multiprocessing.get_context("fork")
    for place, task in enumerate(tasks):
        processes = [
            forked.Process(target=_in_a_fork, args=(task, workers, dtype, folder, place, rank))
            for rank in range(workers)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(DEADLINE_SECONDS / 2)
            process.kill()  # one whose fellow died waits for it
        assert [process.exitcode for process in processes] == [0] * workers


def _in_a_fork(
    task: TrainingTask, workers: int, dtype: torch.dtype, folder: Path, place: int, rank: int
) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting-{place}", rank=rank, world_size=workers
    )
    base = own_base(dtype)
    shares = Together(rank, workers, sharded_base.shard(base, "cpu").rest)
    tensors, meta = train(task, base, shares)
    layers = base.model.model.layers
    whole = sum(map(sharded_base.is_whole, layers))
    parts = [p.to_local() for layer in layers for p in layer.parameters() if hasattr(p, "to_local")]
    held = sum(part.numel() for part in parts)
    state = pack(tensors, {**meta, "whole_layers": whole, "held": held})
    (folder / f"{place}-{rank}").write_bytes(state)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
