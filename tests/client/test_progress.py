"""The display of a job, from events that may lack anything."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from api_schemas.ids import new_id
from api_schemas.jobs import EventType, JobEvent, stages_of
from client.progress import JobProgress, stage_table, world_table

START = datetime(2026, 1, 1, tzinfo=UTC)
GROUP = "grp_" + "0" * 26


def event(
    kind: EventType, data: dict[str, Any] | None = None, seconds: float = 0.0, message: str = ""
) -> JobEvent:
    return JobEvent(
        id=new_id("evt"),
        sequence=1,
        type=kind,
        message=message or kind,
        data=data or {},
        created_at=START + timedelta(seconds=seconds),
    )


def shown(progress: JobProgress, *, worlds: bool = False) -> str:
    table = (
        world_table(progress.state, {GROUP: "teachers"})
        if worlds
        else stage_table(progress.state, START + timedelta(seconds=9))
    )
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.fixture
def progress() -> JobProgress:
    return JobProgress(Console(force_terminal=False, width=200))


def test_a_finished_stage_shows_its_seconds_and_a_running_one_counts(progress: JobProgress) -> None:
    progress.state.apply(event("stage_started", {"stage": "score"}, 1))
    progress.state.apply(event("stage_finished", {"stage": "score"}, 3.5))
    progress.state.apply(event("stage_started", {"stage": "train"}, 4))
    figures = {"stage": "train", "done": 3, "total": 12, "unit": "steps"}
    progress.state.apply(event("stage_progress", figures, 5))
    lines = {line.split()[0]: line.split()[1:] for line in shown(progress).splitlines()[2:]}
    assert lines["score"] == ["2.5"]
    assert lines["train"] == ["5.0", "3/12", "steps"]
    assert lines["value"] == []


def test_an_audits_job_is_shown_with_its_own_stages() -> None:
    progress = JobProgress(Console(force_terminal=False, width=200), stages=stages_of("audit"))
    progress.state.apply(event("stage_started", {"stage": "replay"}, 1))
    names = [line.split()[0] for line in shown(progress).splitlines()[2:]]
    assert names == ["replay", "retrain", "publish"]


def trained(kind: EventType, step: int, **figures: Any) -> JobEvent:
    """An event of the `train` stage, of one world."""
    world = {"world": f"without:{GROUP}", "welfare": 1.25, "divergence": 0.5, "best_step": 0}
    worlds = [world | {"stopped": False} | figures]
    return event(kind, {"stage": "train", "step": step, "steps": 12, "worlds": worlds})


def world_row(progress: JobProgress) -> list[str]:
    return shown(progress, worlds=True).splitlines()[-1].split()


def test_worlds_show_the_rollouts_figures_beside_the_held_out_ones(progress: JobProgress) -> None:
    progress.state.apply(
        trained("world_evaluated", 4, welfare=1.125, divergence=0.375, best_step=4)
    )
    progress.state.apply(trained("training_step", 5, best_step=4))
    assert world_row(progress) == ["without", "teachers", "5/12", "1.250", "0.500", "1.125", "4"]
    (stage,) = [line for line in shown(progress).splitlines() if "train" in line]
    assert stage.split()[-2:] == ["5/12", "steps"]


def test_a_world_that_stopped_is_marked(progress: JobProgress) -> None:
    progress.state.apply(trained("world_evaluated", 8, best_step=4))
    assert "stopped" not in world_row(progress)
    progress.state.apply(trained("world_evaluated", 12, best_step=4, stopped=True))
    assert world_row(progress)[-2:] == ["4", "stopped"]


def test_a_world_that_diverged_shows_no_older_figure(progress: JobProgress) -> None:
    for welfare in (1.25, None):
        progress.state.apply(trained("world_evaluated", 4, welfare=welfare))
        progress.state.apply(trained("training_step", 5, welfare=welfare, divergence=welfare))
    assert world_row(progress) == ["without", "teachers", "5/12", "0"]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"worlds": None},
        {"worlds": [3, {}, {"world": "grand"}]},
        {"stage": 7, "done": "many", "worlds": "grand"},
        {"stage": "a stage of a newer service", "step": True},
    ],
)
def test_missing_and_strange_figures_are_passed_over(
    progress: JobProgress, data: dict[str, Any]
) -> None:
    kinds: list[EventType] = ["stage_progress", "training_step", "world_evaluated", "warning"]
    for kind in kinds:
        progress.show(event(kind, data))
    assert "train" in shown(progress)
    assert "world" in shown(progress, worlds=True)


def test_only_the_last_warnings_are_kept(progress: JobProgress) -> None:
    for number in range(5):
        progress.state.apply(event("warning", message=f"warning {number}"))
    assert list(progress.state.warnings) == ["warning 2", "warning 3", "warning 4"]


def test_without_a_terminal_every_event_but_the_counts_is_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with JobProgress(Console(force_terminal=False, width=80), {GROUP: "teachers"}) as progress:
        progress.show(event("stage_started", {"stage": "train"}, message="train started"))
        progress.show(event("stage_progress", {"stage": "train", "done": 1}))
        progress.show(event("group_excluded", message=f"{GROUP} was excluded"))
    assert capsys.readouterr().out.splitlines() == [
        "00:00:00 stage_started   train started",
        "00:00:00 group_excluded  teachers was excluded",
    ]


def test_on_a_terminal_the_last_state_stays_on_the_screen() -> None:
    console = Console(force_terminal=True, width=100, height=40, file=None)
    with console.capture() as capture, JobProgress(console) as progress:
        progress.show(event("job_succeeded"))
    assert "job succeeded" in capture.get()


def test_what_a_job_has_spent_is_shown_as_it_was_told_last() -> None:
    console = Console(force_terminal=True, width=100, height=40, file=None)
    told = {"calls": 3, "prompt_tokens": 210, "completion_tokens": 40}
    with (
        console.capture() as capture,
        JobProgress(console, stages=stages_of("corpus")) as progress,
    ):
        for spent in (told | {"calls": 2}, told, {"calls": -1}, "much", None):
            data = {"stage": "write_answers", "spent": spent}
            progress.show(event("stage_progress", data))
    shown_last = capture.get().split("job queued")[-1]
    assert "spent: 3 calls (0 replayed), 210 + 40 tokens" in shown_last


def test_a_bar_tells_how_many_stages_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with JobProgress(console, stages=("fit_rewards", "sample_pool")) as progress:
        progress.show(event("stage_started", {"stage": "fit_rewards"}, 1))
        progress.show(event("stage_finished", {"stage": "fit_rewards"}, 2))
    assert isinstance(console.file, io.StringIO)
    assert "━━━" in console.file.getvalue()
    assert "50%" in console.file.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with JobProgress(console) as progress:
        progress.show(event("stage_started", {"stage": "score"}, 1, message="scoring"))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("scoring") == 1
