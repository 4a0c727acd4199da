"""A job's events as curves: welfare and divergence of every world, step by step."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from api_schemas.base import ListPage
from api_schemas.jobs import JobEvent
from service.dashboard.api import Api
from service.dashboard.operator.names import world_name

_PAGE = 100
"""Events in one answer of the API at most."""

_POINTS = 150
"""On a curve at most: a screen shows no more, and the table beside it stays readable."""

Figures = dict[str, dict[int, float | None]]


@dataclass
class Curves:
    """By world and step, agent·reward units and the regulariser's; a world that diverged has None.

    `held_out` is the welfare on the pool that decides early stopping.
    """

    welfare: Figures = field(default_factory=dict)
    divergence: Figures = field(default_factory=dict)
    held_out: Figures = field(default_factory=dict)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)


async def newest_events(api: Api, job_id: str, most: int) -> list[JobEvent]:
    """The last `most` events, oldest first. A training may tell of 100,000 steps: a page that is
    looked at again and again can't read them all each time."""
    events: list[JobEvent] = []
    after = None
    for _ in range(-(-most // _PAGE)):
        page = await api.get(
            ListPage[JobEvent],
            f"/v1/jobs/{job_id}/events",
            newest_first="true",
            after=after,
            limit=_PAGE,
        )
        events += page.data
        if not page.has_more:
            break
        after = page.last_id
    return events[::-1]


def curves_of(events: Iterable[JobEvent]) -> Curves:
    """A retry of the training tells its steps again: the later figures stand."""
    found = Curves()
    for event in events:
        if event.type not in ("training_step", "world_evaluated"):
            continue
        step = int(event.data["step"])
        for world in event.data.get("worlds", []):
            name = world["world"]
            seen = found.last.setdefault(name, {"step": 0, "best_step": None, "stopped": False})
            seen.update(step=step, best_step=world.get("best_step"), stopped=world.get("stopped"))
            if event.type == "world_evaluated":
                found.held_out.setdefault(name, {})[step] = world.get("welfare")
            else:
                found.welfare.setdefault(name, {})[step] = world.get("welfare")
                found.divergence.setdefault(name, {})[step] = world.get("divergence")
    return found


def chart(figures: Figures, names: Mapping[str, str]) -> dict[str, Any]:
    """`x` and `series` as the chart takes them; of a long one every so many steps."""
    steps = sorted({step for points in figures.values() for step in points})
    stride = -(-len(steps) // _POINTS) or 1
    shown = steps[::stride]
    if steps and shown[-1] != steps[-1]:
        shown.append(steps[-1])
    series = [
        {"label": world_name(world, names), "values": [points.get(step) for step in shown]}
        for world, points in figures.items()
    ]
    return {"x": shown, "series": series}
