"""What a job's events tell so far: stages, worlds, warnings. Plain values, no display."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from api_schemas.jobs import STAGES, EventType, JobEvent
from api_schemas.language_models import Spent

_WARNINGS_KEPT = 3


@dataclass
class StageState:
    started_at: datetime | None = None
    seconds: float | None = None
    done: float | None = None
    total: float | None = None
    unit: str = ""


def states_of(stages: Iterable[str]) -> dict[str, StageState]:
    """The stages by name, none of them begun."""
    return {name: StageState() for name in stages}


@dataclass
class WorldState:
    """Figures of one world; the `held_out` one is of the pool that decides early stopping."""

    step: int | None = None
    steps: int | None = None
    welfare: float | None = None
    divergence: float | None = None
    held_out_welfare: float | None = None
    best_step: int | None = None
    stopped: bool = False


@dataclass
class JobState:
    """`stages` are those of a round's job, unless others are given."""

    stages: dict[str, StageState] = field(default_factory=lambda: states_of(STAGES))
    worlds: dict[str, WorldState] = field(default_factory=dict)
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=_WARNINGS_KEPT))
    status: str = "queued"
    spent: Spent | None = None
    """What a job that buys replies of language models has spent so far."""

    def apply(self, event: JobEvent) -> None:
        """Take an event in. Figures that it lacks, or that are of another type, stay as they were:
        a display must not fail because a newer service tells other things."""
        data = event.data
        if event.type == "job_claimed":
            self.status = "running"
        elif event.type in ("job_queued", "job_succeeded", "job_failed", "job_cancelled"):
            self.status = event.type.removeprefix("job_")
        if event.level != "info" or event.type in ("warning", "group_excluded"):
            self.warnings.append(event.message)
        if "spent" in data:
            self.spent = _spent(data["spent"], self.spent)
        if isinstance(name := data.get("stage"), str):
            self._apply_to_stage(self.stages.setdefault(name, StageState()), event)
        if event.type in ("training_step", "world_evaluated"):
            self._apply_to_worlds(event.type, data)

    def _apply_to_stage(self, stage: StageState, event: JobEvent) -> None:
        data = event.data
        if event.type == "stage_started":
            stage.started_at, stage.seconds = event.created_at, None
        elif event.type == "stage_finished":
            elapsed = _elapsed(stage.started_at, event.created_at)
            stage.seconds = _number(data.get("seconds"), elapsed)
        elif event.type == "stage_progress":
            stage.done = _number(data.get("done"), stage.done)
            stage.total = _number(data.get("total"), stage.total)
            stage.unit = str(data.get("unit") or stage.unit)
        elif event.type == "training_step":
            stage.done = _number(data.get("step"), stage.done)
            stage.total = _number(data.get("steps"), stage.total)
            stage.unit = "steps"

    def _apply_to_worlds(self, kind: EventType, data: dict[str, Any]) -> None:
        listed = data.get("worlds")
        for figures in listed if isinstance(listed, list) else []:
            if not isinstance(figures, dict) or "world" not in figures:
                continue
            world = self.worlds.setdefault(str(figures["world"]), WorldState())
            world.step = _integer(data.get("step"), world.step)
            world.steps = _integer(data.get("steps"), world.steps)
            if kind == "training_step":
                world.welfare = _figure(figures, "welfare", world.welfare)
                world.divergence = _figure(figures, "divergence", world.divergence)
            else:
                world.held_out_welfare = _figure(figures, "welfare", world.held_out_welfare)
                world.best_step = _integer(figures.get("best_step"), world.best_step)
                world.stopped = figures.get("stopped") is True


def _spent(told: Any, otherwise: Spent | None) -> Spent | None:
    try:
        return Spent.model_validate(told)
    except ValidationError:
        return otherwise


def _elapsed(start: datetime | None, end: datetime) -> float | None:
    return None if start is None else (end - start).total_seconds()


def _figure(figures: dict[str, Any], name: str, otherwise: float | None) -> float | None:
    """A figure that is null has no value any more: its world diverged."""
    return None if figures.get(name, 0) is None else _number(figures.get(name), otherwise)


def _number(value: Any, otherwise: float | None) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else otherwise


def _integer(value: Any, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
