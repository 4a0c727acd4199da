"""A job as it runs: a live display on a terminal, one line an event elsewhere."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from api_schemas.jobs import STAGES, JobEvent
from client.corpus_tables import spent_text
from client.job_progress import ProgressMeter
from client.job_state import JobState, StageState, WorldState, states_of
from client.names import named, world_name

_REFRESHES_PER_SECOND = 4
_BAR_WIDTH = 40
_UNPRINTED = frozenset({"stage_progress"})
"""Too many for lines; the live display shows them as counts."""


class JobProgress:
    """Shows every event given to `show`, while it is entered.

    `names` maps group ids to names that people know; `stages` are the job's, if not a round's.
    """

    def __init__(
        self,
        console: Console,
        names: Mapping[str, str] | None = None,
        stages: Iterable[str] = STAGES,
    ):
        names_of_stages = list(stages)
        self.state = JobState(states_of(names_of_stages))
        self._meter = ProgressMeter(names_of_stages)
        self._fraction = 0.0
        self._console = console
        self._names = names or {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_interactive:
            self._live = Live(
                console=self._console,
                get_renderable=self._rendered,
                refresh_per_second=_REFRESHES_PER_SECOND,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: JobEvent) -> None:
        self.state.apply(event)
        self._fraction = self._meter.after(event).fraction
        if self._live is None and event.type not in _UNPRINTED:
            self._console.print(self._line(event), soft_wrap=True)

    def _rendered(self) -> RenderableType:
        parts: list[RenderableType] = [
            bar(self._fraction),
            stage_table(self.state, datetime.now(UTC)),
        ]
        if self.state.worlds:
            parts.append(world_table(self.state, self._names))
        if self.state.spent is not None:
            parts.append(Text(f"spent: {spent_text(self.state.spent)}"))
        parts += [
            Text(f"! {named(warning, self._names)}", style="yellow")
            for warning in self.state.warnings
        ]
        return Group(*parts)

    def _line(self, event: JobEvent) -> Text:
        text = f"{event.created_at:%H:%M:%S} {event.type:<15} {event.message}"
        return Text(named(text, self._names))


def bar(fraction: float) -> RenderableType:
    """How many of the job's stages are done; within the terminal's width."""
    line = Table.grid(padding=(0, 1))
    line.add_row(ProgressBar(total=1.0, completed=fraction, width=_BAR_WIDTH), f"{fraction:.0%}")
    return line


def stage_table(state: JobState, now: datetime) -> Table:
    table = Table(title=f"job {state.status}", title_justify="left", box=None)
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("progress")
    for name, stage in state.stages.items():
        style = "green" if stage.seconds is not None else "bold" if stage.started_at else "dim"
        table.add_row(name, _seconds(stage, now), _count(stage), style=style)
    return table


def world_table(state: JobState, names: Mapping[str, str]) -> Table:
    """ASW and KL of the rollouts, and ASW on the held-out pool, which picks the best step.

    A world is marked as stopped once its held-out ASW has not risen for the announced patience.
    """
    table = Table(title="worlds", title_justify="left", box=None)
    table.add_column("world")
    for heading in ("step", "ASW", "KL", "held-out ASW", "best step", ""):
        table.add_column(heading, justify="right")
    for world, figures in state.worlds.items():
        table.add_row(world_name(world, names), *_cells(figures))
    return table


def _cells(figures: WorldState) -> list[str]:
    step = "" if figures.step is None else str(figures.step)
    return [
        step if figures.steps is None else f"{step}/{figures.steps}",
        _figure(figures.welfare),
        _figure(figures.divergence),
        _figure(figures.held_out_welfare),
        "" if figures.best_step is None else str(figures.best_step),
        "stopped" if figures.stopped else "",
    ]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _seconds(stage: StageState, now: datetime) -> str:
    if stage.seconds is not None:
        return f"{stage.seconds:.1f}"
    if stage.started_at is None:
        return ""
    return f"{max(0.0, (now - stage.started_at).total_seconds()):.1f}"


def _count(stage: StageState) -> str:
    if stage.done is None:
        return ""
    total = "" if stage.total is None else f"/{stage.total:g}"
    return f"{stage.done:g}{total} {stage.unit}".rstrip()
