"""A trainer's state as tensors and JSON, so that a training can go on elsewhere."""

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from workers.training.train_worlds import Evaluation, WorldRecord, WorldsTrainer


def state(trainer: WorldsTrainer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything a resumed training needs."""
    tensors: dict[str, Tensor] = {}
    for index, parameter in enumerate(trainer.parameters):
        moments = trainer.optimizer.state.get(parameter, {}) if trainer.optimizer else {}
        tensors[f"parameter.{index}"] = parameter.detach()
        for name in ("exp_avg", "exp_avg_sq", "step"):
            if name in moments:
                tensors[f"{name}.{index}"] = moments[name]
    tensors |= {f"kept.{name}": tensor for name, tensor in trainer.kept_tensors().items()}
    for world, record in enumerate(trainer.records):
        # A copy: the best state may be one of the checkpoints, and a tensor is stored once.
        best = {key: tensor.clone() for key, tensor in (record.best_state or {}).items()}
        tensors |= _prefixed(f"best.{world}.", best)
        for step, kept in record.checkpoints:
            tensors |= _prefixed(f"checkpoint.{world}.{step}.", kept)
    records = [
        {
            "best_welfare": record.best_welfare,
            "best_step": record.best_step,
            "misses": record.misses,
            "stopped": record.stopped,
            "history": [_as_json(each) for each in record.history],
            "checkpoints": [step for step, _ in record.checkpoints],
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
        if trainer.optimizer and f"step.{index}" in tensors:
            trainer.optimizer.state[parameter] = {
                name: tensors[f"{name}.{index}"].to("cpu" if name == "step" else parameter.device)
                for name in ("step", "exp_avg", "exp_avg_sq")
            }
    for name, kept in trainer.kept_tensors().items():
        kept.copy_(tensors[f"kept.{name}"])
    for world, record in enumerate(meta["records"]):
        saved = dict(record)
        steps = saved.pop("checkpoints")
        history = [_from_json(each) for each in saved.pop("history")]
        trainer.records[world] = WorldRecord(
            **saved,
            best_state=_with_prefix(f"best.{world}.", tensors) or None,
            history=history,
            checkpoints=[
                (step, _with_prefix(f"checkpoint.{world}.{step}.", tensors)) for step in steps
            ],
        )


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in state.items()}


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix)
    }


def _as_json(evaluation: Evaluation) -> dict[str, Any]:
    """JSON has no NaN, which the last evaluation of a diverged world holds: null stands for it."""
    return {n: None if math.isnan(v) else v for n, v in asdict(evaluation).items()}


def _from_json(saved: dict[str, Any]) -> Evaluation:
    figures: dict[str, Any] = {n: math.nan if v is None else v for n, v in saved.items()}
    return Evaluation(**figures)
