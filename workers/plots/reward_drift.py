"""How far a training drifted from the initial model, and what reward it had for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workers.mechanism.regularizers import REGULARIZERS
from workers.plots.svg import COLOURS, new_figure, short_name, style, to_svg

MAX_CURVES = 12
"""Trainings in one graph; more could not be told apart."""

_MARKERS = "os^vDP"


@dataclass(frozen=True)
class Curve:
    """The path of one training: divergence from the initial model, and reward Σᵢ wᵢ vᵢ, by step.

    Raises ValueError if the two aren't of one length.
    """

    name: str
    divergence: Sequence[float]
    reward: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.divergence) != len(self.reward):
            raise ValueError(
                f"curve {self.name!r} has {len(self.divergence)} divergences and "
                f"{len(self.reward)} rewards"
            )

    @property
    def points(self) -> list[tuple[float, float]]:
        """The steps that can be drawn: a training that has diverged has no figures."""
        both = zip(self.divergence, self.reward, strict=True)
        return [(d, r) for d, r in both if math.isfinite(d) and math.isfinite(r)]


def reward_drift_figure(curves: Sequence[Curve], regularizer: str = "kl") -> bytes:
    """Reward against divergence, step by step, with each training's Pareto front in bold.

    `regularizer` is the announced one, whose divergence it is. A front is of one training: rewards
    of different worlds are sums over different groups, so a common one would mean nothing.
    """
    distance = REGULARIZERS[regularizer]
    with style():
        figure = new_figure(8.0, 5.0)
        axes = figure.subplots()
        for index, curve in enumerate(curves[:MAX_CURVES]):
            _draw(axes, curve, index)
        axes.set_xlabel(f"{distance.name.upper()} from the initial model ({distance.unit})")
        axes.set_ylabel("reward Σᵢ wᵢ vᵢ (agent·reward units)")
        more = f", {MAX_CURVES} of {len(curves)} trainings" if len(curves) > MAX_CURVES else ""
        title = f"Reward and drift by step{more}"
        axes.set_title(f"{title}\nbold: no step had more reward at as little divergence")
        if curves:
            axes.legend(fontsize=8, frameon=False)
        return to_svg(figure, title)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (divergence, reward) that no other point beats: as little divergence and more reward."""
    front: list[tuple[float, float]] = []
    for divergence, reward in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or reward > front[-1][1]:
            front.append((divergence, reward))
    return front


def _draw(axes: Any, curve: Curve, index: int) -> None:
    points, colour = curve.points, COLOURS[index % len(COLOURS)]
    marker = _MARKERS[(index // len(COLOURS) + index) % len(_MARKERS)]
    missing = len(curve.reward) - len(points)
    label = short_name(curve.name) + (
        f" ({missing} of {len(curve.reward)} steps without figures)" if missing else ""
    )
    look = {"color": colour, "marker": marker, "markersize": 4}
    divergence, reward = [p[0] for p in points], [p[1] for p in points]
    axes.plot(divergence, reward, linewidth=0.7, alpha=0.6, markerfacecolor="white", **look)
    front = pareto_front(points)
    across, up = [p[0] for p in front], [p[1] for p in front]
    axes.step(across, up, where="post", linewidth=2.2, label=label, **look)
