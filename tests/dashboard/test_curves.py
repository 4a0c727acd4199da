"""A job's events become curves: every figure at its step, and no more points than can be read."""

from datetime import UTC, datetime
from typing import Any

from api_schemas.ids import new_id
from api_schemas.jobs import JobEvent
from service.dashboard.operator.curves import chart, curves_of
from service.dashboard.operator.names import world_name

GROUP = "grp_" + "0" * 26


def told(kind: str, step: int, **welfare: float | None) -> JobEvent:
    worlds = [
        {"world": world, "welfare": value, "divergence": value, "best_step": 1, "stopped": False}
        for world, value in welfare.items()
    ]
    data: dict[str, Any] = {"stage": "train", "step": step, "steps": 9, "worlds": worlds}
    return JobEvent.model_validate(
        {
            "id": new_id("evt"),
            "sequence": step,
            "type": kind,
            "message": "a step",
            "data": data,
            "created_at": datetime.now(UTC),
        }
    )


def test_a_world_that_diverged_or_stopped_has_gaps() -> None:
    events = [
        told("training_step", 1, grand=1.0, other=2.0),
        told("training_step", 2, grand=1.5, other=None),
        told("world_evaluated", 2, grand=1.25),
        told("training_step", 3, grand=1.75),
    ]
    found = curves_of(events)
    drawn = chart(found.welfare, {})
    assert drawn["x"] == [1, 2, 3]
    assert drawn["series"] == [
        {"label": "all groups", "values": [1.0, 1.5, 1.75]},
        {"label": "other", "values": [2.0, None, None]},
    ]
    assert found.held_out == {"grand": {2: 1.25}}


def test_a_training_that_was_retried_is_told_as_it_ended() -> None:
    events = [told("training_step", 1, grand=1.0), told("training_step", 1, grand=3.0)]
    assert curves_of(events).welfare == {"grand": {1: 3.0}}


def test_long_curves_keep_their_first_and_last_step() -> None:
    events = [told("training_step", step, grand=float(step)) for step in range(1, 1001)]
    drawn = chart(curves_of(events).welfare, {})
    assert len(drawn["x"]) <= 151
    assert (drawn["x"][0], drawn["x"][-1]) == (1, 1000)
    assert drawn["series"][0]["values"] == [float(step) for step in drawn["x"]]


def test_a_job_that_trained_nothing_has_no_curve() -> None:
    assert chart(curves_of([]).welfare, {}) == {"x": [], "series": []}


def test_worlds_are_called_by_their_groups_names() -> None:
    names = {GROUP: "teachers"}
    assert world_name("grand", names) == "all groups"
    assert world_name(f"without:{GROUP}", names) == "without teachers"
    assert world_name(f"without:{GROUP}", {}) == f"without {GROUP}"
    assert world_name(f"single:{GROUP}", names) == f"single:{GROUP}"
