"""How far a job is, in one number."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from api_schemas.jobs import JobEvent
from client.job_state import JobState, StageState, states_of


@dataclass(frozen=True)
class Progress:
    """`fraction` is how much of the job's stages is done, from 0 to 1. Each stage counts the same,
    whatever time it takes; in the one that runs, what it counted so far. It never falls.

    `stage` is the one that runs, or that the job ended in; None before the first, and once all are
    done. `seconds` have passed since a worker first took the job, by the service's clock.
    """

    fraction: float
    stage: str | None
    seconds: float


OnProgress = Callable[[Progress], None]


class ProgressMeter:
    """Takes a job's events in; `stages` are the names of the job's."""

    def __init__(self, stages: Iterable[str]):
        self._state = JobState(states_of(stages))
        self._claimed_at: datetime | None = None
        self._stage: str | None = None
        self._fraction = 0.0

    def after(self, event: JobEvent) -> Progress:
        self._state.apply(event)
        if event.type == "job_claimed" and self._claimed_at is None:
            self._claimed_at = event.created_at
        if event.type == "stage_started":
            self._stage = str(event.data.get("stage"))
        if event.type == "job_succeeded":
            self._stage, self._fraction = None, 1.0
        done = [_part_done(stage) for stage in self._state.stages.values()]
        # A job that is tried again does its last stage anew, and a bar must not run backwards.
        self._fraction = max(self._fraction, sum(done) / len(done) if done else 0.0)
        started = self._claimed_at or event.created_at
        seconds = (event.created_at - started).total_seconds()
        return Progress(self._fraction, self._stage, seconds)


def _part_done(stage: StageState) -> float:
    """Of one stage, from 0 to 1; 0 while it tells no count, or not how much there is to do."""
    if stage.seconds is not None:
        return 1.0
    if not stage.total or stage.done is None:
        return 0.0
    return min(1.0, max(0.0, stage.done / stage.total))
