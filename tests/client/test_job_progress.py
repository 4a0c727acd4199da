"""How far a job is, as the client tells it while it waits."""

from typing import Any

import pytest

from api_schemas import examples
from api_schemas.jobs import JobEvent
from client.job_progress import Progress, ProgressMeter

STAGES = ("replay", "retrain", "publish")


def event(kind: str, second: int, **data: Any) -> JobEvent:
    when = f"2026-01-01T00:00:{second:02}Z"
    return JobEvent.model_validate(
        examples.JOB_EVENT | {"type": kind, "data": data, "created_at": when}
    )


def told(*events: JobEvent) -> list[tuple[float, str | None, float]]:
    meter = ProgressMeter(STAGES)
    found = [meter.after(each) for each in events]
    return [(progress.fraction, progress.stage, progress.seconds) for progress in found]


def test_stages_count_the_same_and_the_one_that_runs_by_its_own_count() -> None:
    assert told(
        event("job_queued", 0),
        event("job_claimed", 10),
        event("stage_started", 10, stage="replay"),
        event("stage_finished", 12, stage="replay", seconds=2.0),
        event("stage_started", 12, stage="retrain"),
        event("stage_progress", 13, stage="retrain", done=1, total=4),
        event("stage_progress", 14, stage="retrain", done=3, total=4),
        event("job_succeeded", 20),
    ) == [
        (0.0, None, 0.0),
        (0.0, None, 0.0),  # seconds count from here: it had waited in the queue
        (0.0, "replay", 0.0),
        (pytest.approx(1 / 3), "replay", 2.0),
        (pytest.approx(1 / 3), "retrain", 2.0),
        (pytest.approx((1 + 1 / 4) / 3), "retrain", 3.0),
        (pytest.approx((1 + 3 / 4) / 3), "retrain", 4.0),
        (1.0, None, 10.0),
    ]


def test_a_job_that_is_tried_again_is_never_told_to_be_less_far() -> None:
    *_, before, failed, queued, again = told(
        event("job_claimed", 0),
        event("stage_started", 0, stage="replay"),
        event("stage_progress", 3, stage="replay", done=9, total=10),
        event("job_failed", 4),
        event("job_queued", 5),
        event("stage_started", 6, stage="replay"),
    )
    assert before[0] == failed[0] == queued[0] == again[0] == pytest.approx(0.3)
    assert failed == (pytest.approx(0.3), "replay", 4.0)


def test_a_stage_of_a_newer_service_does_not_take_the_fraction_down_or_above_one() -> None:
    first, second = told(
        event("stage_finished", 0, stage="replay", seconds=1.0),
        event("stage_progress", 1, stage="polish", done=7, total=5),
    )
    assert first[0] == pytest.approx(1 / 3)
    assert second[0] == pytest.approx(2 / 4)


@pytest.mark.parametrize("count", [{}, {"done": 3}, {"done": 3, "total": 0}, {"done": "many"}])
def test_a_stage_that_counts_nothing_is_not_begun_until_it_is_done(count: dict[str, Any]) -> None:
    (progress,) = [ProgressMeter(STAGES).after(event("stage_progress", 0, stage="replay", **count))]
    assert progress == Progress(0.0, None, 0.0)
