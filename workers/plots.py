"""Figures as SVG: what a lie would have brought, and how far a training drifted for its reward.

The same numbers make the same bytes. Colours are those of Okabe and Ito, which people with any
colour vision can tell apart; markers and line styles say the same again.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from api_schemas.audits import AuditLine, AuditResult

MAX_GROUPS = 8
"""Rows of an audit's figure; more would be too small to read."""

MAX_CURVES = 12
"""Trainings in one reward-drift graph."""

_BLUE, _VERMILLION, _BLACK, _GREY = "#0072B2", "#D55E00", "#000000", "#767676"
_COLOURS = (_BLUE, _VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", _BLACK, _GREY)
_MARKERS = "os^vDP"
_LONGEST_NAME = 40
_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = {
    # ids in the SVG would otherwise be random
    "svg.hashsalt": "truthtune",
    # letters, not outlines: text can be searched and read aloud
    "svg.fonttype": "none",
    # a group's name may hold dollar signs
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class _Series:
    """Strategies that share a line; `through_truth`: their parameter 1 is the truthful report."""

    label: str
    strategies: tuple[str, ...]
    marker: str
    line: str
    through_truth: bool = True


@dataclass(frozen=True)
class _Panel:
    """One way of lying: `label` of its axis, and the lines in it."""

    label: str
    series: tuple[_Series, ...]


_SPIKE = _Series("spike", ("spike",), "s", "none", through_truth=False)
_SIZE = _Panel(
    "α: reported size / true size",
    (_Series("inflate, deflate", ("inflate", "deflate"), "o", "-"),),
)
_REWARDS = _Panel(
    "β: exponent (sharpen) or weight (oppose)",
    (
        _Series("sharpen", ("sharpen",), "^", "-"),
        _Series("oppose", ("oppose",), "v", "--", through_truth=False),
        _SPIKE,
    ),
)
_PANELS = (_SIZE, _REWARDS)


@dataclass(frozen=True)
class _Audited:
    """All lines of one group."""

    truth: AuditLine
    misreports: list[AuditLine]
    retrained: list[AuditLine]

    @property
    def largest_gain(self) -> float:
        lies = [*self.misreports, *self.retrained]
        return max((max(lie.gain, lie.gain_without_payments) for lie in lies), default=0.0)


@dataclass(frozen=True)
class _Cell:
    title: str
    audited: _Audited
    panel: _Panel


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


def audit_figure(result: AuditResult, names: Mapping[str, str] | None, title: str) -> bytes:
    """What each lie gains its group, with and without payments: a row of panels for every group.

    The left panels are of false sizes, the right ones of false rewards; `names` are the groups' by
    id. At most `MAX_GROUPS` groups are drawn, those with the largest gains, and the title says so.
    """
    groups = _by_group(result)
    shown = sorted(groups, key=lambda group: -groups[group].largest_gain)[:MAX_GROUPS]
    if len(shown) < len(groups):
        title = f"{title}\nthe {len(shown)} of {len(groups)} groups that a lie gains most"
    cells = [
        [_Cell(_heading(groups[group], names), groups[group], panel) for panel in _PANELS]
        for group in groups
        if group in shown
    ]
    return _incentives(cells, title)


def incentive_figure(
    results: Mapping[str, AuditResult], names: Mapping[str, str] | None, title: str
) -> bytes:
    """Audits of the same groups side by side, a column for each of `results`, headed by its key.

    Groups are matched by their place among the reports. Raises ValueError unless every audit has
    as many groups.
    """
    columns = {label: list(_by_group(result).values()) for label, result in results.items()}
    counts = {label: len(groups) for label, groups in columns.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"the audits are not of the same groups: {counts}")
    cells = [
        [
            _Cell(f"{label}: {_heading(groups[row], names)}", groups[row], panel)
            for label, groups in columns.items()
        ]
        for row in range(min(next(iter(counts.values())), MAX_GROUPS))
        for panel in _PANELS
    ]
    return _incentives(cells, title)


def reward_drift_figure(
    curves: Sequence[Curve], divergence_label: str = "KL from the initial model (nats)"
) -> bytes:
    """Reward against divergence, step by step, with each training's Pareto front.

    The front holds the steps that no other step of that training beats in both: rewards of
    different worlds are sums over different groups, so no common front would mean anything.
    """
    with _style():
        figure = _figure(8.0, 5.0)
        axes = figure.subplots()
        for index, curve in enumerate(curves[:MAX_CURVES]):
            _draw_curve(axes, curve, index)
        axes.set_xlabel(divergence_label)
        axes.set_ylabel("reward Σᵢ wᵢ vᵢ (agent·reward units)")
        more = f", {MAX_CURVES} of {len(curves)} trainings" if len(curves) > MAX_CURVES else ""
        title = f"Reward and drift by step{more}"
        axes.set_title(f"{title}\nbold: no step had more reward at as little divergence")
        if curves:
            axes.legend(fontsize=8, frameon=False)
        return _svg(figure, title)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (divergence, reward) that no other point beats: as little divergence and more reward."""
    front: list[tuple[float, float]] = []
    for divergence, reward in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or reward > front[-1][1]:
            front.append((divergence, reward))
    return front


def _draw_curve(axes: Any, curve: Curve, index: int) -> None:
    points, colour = curve.points, _COLOURS[index % len(_COLOURS)]
    marker = _MARKERS[(index // len(_COLOURS) + index) % len(_MARKERS)]
    missing = len(curve.reward) - len(points)
    label = _shown(curve.name) + (f" ({missing} steps without figures)" if missing else "")
    look = {"color": colour, "marker": marker, "markersize": 4}
    divergence, reward = [p[0] for p in points], [p[1] for p in points]
    axes.plot(divergence, reward, linewidth=0.7, alpha=0.6, markerfacecolor="white", **look)
    front = pareto_front(points)
    across, up = [p[0] for p in front], [p[1] for p in front]
    axes.step(across, up, where="post", linewidth=2.2, label=label, **look)


def _by_group(result: AuditResult) -> dict[str, _Audited]:
    """The lines by group, in the order of the truthful ones."""
    found = {line.group_id: _Audited(line, [], []) for line in result.truth}
    for line in result.misreports:
        found[line.group_id].misreports.append(line)
    for line in result.retrained:
        found[line.group_id].retrained.append(line)
    return found


def _heading(audited: _Audited, names: Mapping[str, str] | None) -> str:
    group_id = audited.truth.group_id
    return f"{_shown((names or {}).get(group_id, group_id))}, size {audited.truth.reported_size}"


def _shown(name: str) -> str:
    """A name as an XML file and a narrow panel can hold it."""
    name = _NOT_IN_XML.sub("\ufffd", name)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _incentives(cells: Sequence[Sequence[_Cell]], title: str) -> bytes:
    """A grid of panels; those of a row share the axis of gains, so that they compare."""
    if not cells or not cells[0]:
        raise ValueError("there is no audited group to draw")
    with _style():
        figure = _figure(3.9 * len(cells[0]), 2.4 * len(cells) + 1.1)
        grid = figure.subplots(len(cells), len(cells[0]), sharey="row", squeeze=False)
        for axes_row, row in zip(grid, cells, strict=True):
            for axes, cell in zip(axes_row, row, strict=True):
                _draw_cell(axes, cell)
            axes_row[0].set_ylabel("gain in utility\n(agent·reward units)")
        figure.suptitle(_NOT_IN_XML.sub("\ufffd", title))
        figure.legend(
            handles=_legend(cells), loc="outside lower center", ncols=4, fontsize=8, frameon=False
        )
        return _svg(figure, title)


def _draw_cell(axes: Any, cell: _Cell) -> None:
    audited, panel = cell.audited, cell.panel
    strategies = {name for series in panel.series for name in series.strategies}
    drawn = [line for line in audited.misreports if line.strategy in strategies]
    again = [line for line in audited.retrained if line.strategy in strategies]
    scale = [1.0, *(line.parameter for line in drawn + again if line.strategy != "spike")]
    beyond = 2 * max(scale)  # `spike` is what `sharpen` tends to
    axes.set_xscale("log", base=2)
    axes.axhline(0.0, color=_GREY, linewidth=0.8, zorder=0)
    for series in panel.series:
        for with_payments in (False, True):
            lines = [line for line in drawn if line.strategy in series.strategies]
            if lines and series.through_truth:
                lines.append(audited.truth)
            _plot(axes, series, lines, with_payments, beyond)
            repeated = [line for line in again if line.strategy in series.strategies]
            _plot(axes, series, repeated, with_payments, beyond, retrained=True)
    axes.plot([1.0], [0.0], marker="*", color=_BLACK, markersize=10, zorder=3)
    axes.set_title(cell.title)
    axes.set_xlabel(panel.label)
    has_spike = any(line.strategy == "spike" for line in drawn + again)
    _set_ticks(axes, scale, beyond if has_spike else None)


def _plot(
    axes: Any,
    series: _Series,
    lines: Sequence[AuditLine],
    with_payments: bool,
    beyond: float,
    retrained: bool = False,
) -> None:
    points = sorted(
        (
            beyond
            if line.strategy == "spike"
            else line.parameter
            if line.strategy != "truth"
            else 1.0,
            line.gain if with_payments else line.gain_without_payments,
        )
        for line in lines
    )
    colour = _BLUE if with_payments else _VERMILLION
    axes.plot(
        [across for across, _ in points],
        [gain for _, gain in points],
        color=colour,
        linestyle="none" if retrained else series.line,
        marker="D" if retrained else series.marker,
        markersize=9 if retrained else 4.5,
        markerfacecolor=colour if with_payments and not retrained else "white",
        markeredgewidth=2.0 if retrained else 1.0,
    )


def _set_ticks(axes: Any, scale: Sequence[float], spike: float | None) -> None:
    """At most about seven powers of two, among them 1, and the place of `spike`."""
    low, high = math.floor(math.log2(min(scale))), math.ceil(math.log2(max(scale)))
    stride = max(1, math.ceil((high - low) / 6))
    powers = [2.0**k for k in range(low, high + 1) if k % stride == 0]
    if spike is not None:
        powers = [power for power in powers if power <= spike / 1.9]
    ticks = [*powers, *([spike] if spike is not None else [])]
    labels = [*(f"{power:g}" for power in powers), *(["spike"] if spike is not None else [])]
    axes.set_xticks(ticks, labels)
    axes.minorticks_off()


def _legend(cells: Sequence[Sequence[_Cell]]) -> list[Any]:
    from matplotlib.lines import Line2D

    every = [cell.audited for row in cells for cell in row]
    lied = {line.strategy for each in every for line in [*each.misreports, *each.retrained]}
    handles = [
        Line2D([], [], color=_BLUE, marker="o", label="with payments"),
        Line2D([], [], color=_VERMILLION, marker="o", mfc="white", label="without payments"),
        Line2D([], [], color=_BLACK, marker="*", markersize=10, ls="none", label="truth"),
    ]
    handles += [
        Line2D([], [], color=_GREY, marker=each.marker, ls=each.line, label=each.label)
        for each in (*_SIZE.series, *_REWARDS.series)
        if lied & set(each.strategies)
    ]
    if any(each.retrained for each in every):
        look = {"marker": "D", "markersize": 9, "mfc": "white", "mew": 2.0, "ls": "none"}
        handles.append(Line2D([], [], color=_GREY, label="trained anew", **look))
    return handles


@contextmanager
def _style() -> Iterator[None]:
    """Our settings alone, whatever the machine's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _figure(width: float, height: float) -> Any:
    """Inches. Without pyplot, which would keep every figure and might look for a screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Any, title: str) -> bytes:
    buffer = BytesIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Title": _NOT_IN_XML.sub("\ufffd", title)}
    )
    return buffer.getvalue()
