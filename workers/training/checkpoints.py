"""A trainer's state as tensors and JSON, so that a training can go on elsewhere."""

from typing import Any

import torch
from torch import Tensor

from workers.training.train_worlds import WorldRecord, WorldsTrainer


def state(trainer: WorldsTrainer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything a resumed training needs."""
    tensors: dict[str, Tensor] = {}
    for index, parameter in enumerate(trainer.parameters):
        moments = trainer.optimizer.state.get(parameter, {})
        tensors[f"parameter.{index}"] = parameter.detach()
        for name in ("exp_avg", "exp_avg_sq", "step"):
            if name in moments:
                tensors[f"{name}.{index}"] = moments[name]
    for world, record in enumerate(trainer.records):
        for key, tensor in (record.best_state or {}).items():
            tensors[f"best.{world}.{key}"] = tensor
    records = [
        {
            "best_welfare": record.best_welfare,
            "best_step": record.best_step,
            "misses": record.misses,
            "stopped": record.stopped,
        }
        for record in trainer.records
    ]
    return tensors, {"step": trainer.step, "records": records}


@torch.no_grad()
def restore(trainer: WorldsTrainer, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Continue where `state` was taken; later steps are then the same, bit for bit."""
    trainer.step = meta["step"]
    for index, parameter in enumerate(trainer.parameters):
        parameter.copy_(tensors[f"parameter.{index}"])
        if f"step.{index}" in tensors:
            trainer.optimizer.state[parameter] = {
                name: tensors[f"{name}.{index}"].to("cpu" if name == "step" else parameter.device)
                for name in ("step", "exp_avg", "exp_avg_sq")
            }
    for world, saved in enumerate(meta["records"]):
        prefix = f"best.{world}."
        best = {
            key.removeprefix(prefix): tensor
            for key, tensor in tensors.items()
            if key.startswith(prefix)
        }
        trainer.records[world] = WorldRecord(**saved, best_state=best or None)
