"""What a round costs: seconds of devices and cores by stage, and dollars. docs/scale.md §6."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .devices import CORE_DOLLARS_AN_HOUR, H100, Device, core, fitting
from .limits import HOUR, settle_seconds, solve_seconds
from .shapes import Shape
from .stages import RoundSize, Stage, stages

METHODS = ("closed_form", "bound", "checkpoints", "early_stop", "retrain", "soup")
GROUPS = (3, 10, 30, 100, 300, 1000, 3000, 10_000)
MOST_MIXES = 10_000
"""The largest grid of soups that an announcement may ask for (max_candidates)."""


@dataclass(frozen=True)
class Cost:
    """Seconds by stage, of `device` and of a core."""

    device: Device
    works: Mapping[str, Stage]
    device_seconds: Mapping[str, float]
    core_seconds: Mapping[str, float]

    @property
    def device_hours(self) -> float:
        return sum(self.device_seconds.values()) / HOUR

    @property
    def core_hours(self) -> float:
        return sum(self.core_seconds.values()) / HOUR

    @property
    def dollars(self) -> float:
        of_devices = self.device_hours * self.device.dollars_an_hour
        return of_devices + self.core_hours * CORE_DOLLARS_AN_HOUR


def cost(shape: Shape, size: RoundSize, found: Mapping[str, Any], device: Device = H100) -> Cost:
    """On as few of `device` as hold the model, with lexical reward models on a core each."""
    holding = fitting(shape, device)
    works = stages(shape, size)
    response = found["arithmetic"]["score: lexical"]["response"]
    cores = {name: work.scored * response for name, work in works.items()}
    cores["solve"] += solve_seconds(found, size.groups, size)
    cores["settle"] = settle_seconds(found, size.groups)
    seconds = {name: holding.seconds(work.model) for name, work in works.items()}
    return Cost(holding, works, seconds, cores)


def by_method(shape: Shape, method: str, groups: int, found: Mapping[str, Any]) -> Cost | None:
    """None for a grid of soups that no announcement may ask for."""
    size = replace(RoundSize(groups), counterfactuals=method)
    if method == "soup" and size.candidates > MOST_MIXES:
        return None
    return cost(shape, size, found)


def cost_on_cores(shape: Shape, size: RoundSize, found: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of one core by stage, by the constants that were fitted to it."""
    measured = core(found["constants"])
    works = stages(shape, size)
    response = found["arithmetic"]["score: lexical"]["response"]
    seconds = {
        name: measured.seconds(work.model) + work.scored * response for name, work in works.items()
    }
    seconds["solve"] += solve_seconds(found, size.groups, size)
    return seconds
