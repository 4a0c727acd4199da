"""What a lie would have brought its group, with payments and without."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from api_schemas.audits import AuditLine, AuditResult
from workers.plots.svg import (
    BLACK,
    BLUE,
    GREY,
    VERMILLION,
    new_figure,
    short_name,
    style,
    to_svg,
    writable,
)

MAX_GROUPS = 8
"""Groups in one figure; more would be too small to read."""

_TRAINED_ANEW: dict[str, Any] = {
    "marker": "D",
    "markersize": 9,
    "markerfacecolor": "white",
    "markeredgewidth": 2.0,
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
    """All lines of one group; no `truth` if models were only trained anew for it."""

    group_id: str
    truth: AuditLine | None
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


def audit_figure(result: AuditResult, names: Mapping[str, str] | None, title: str) -> bytes:
    """What each lie gains its group, with and without payments: a row of panels for every group.

    The left panels are of false sizes, the right ones of false rewards; `names` are the groups' by
    id. At most `MAX_GROUPS` groups are drawn, those with the largest gains, and the title says so.
    """
    groups = list(_by_group(result).values())
    shown = sorted(groups, key=lambda group: -group.largest_gain)[:MAX_GROUPS]
    if len(shown) < len(groups):
        title = f"{title}\nthe {len(shown)} of {len(groups)} groups whom a lie gains most"
    cells = [
        [_Cell(_heading(group, names), group, panel) for panel in _PANELS]
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
    count = counts[next(iter(counts))]
    if count > MAX_GROUPS:
        title = f"{title}\nthe first {MAX_GROUPS} of {count} groups"
    cells = [
        [
            _Cell(f"{label}: {_heading(groups[row], names)}", groups[row], panel)
            for label, groups in columns.items()
        ]
        for row in range(min(count, MAX_GROUPS))
        for panel in _PANELS
    ]
    return _incentives(cells, title)


def _by_group(result: AuditResult) -> dict[str, _Audited]:
    """The lines by group, in the order in which groups first appear."""
    every = [*result.truth, *result.misreports, *result.retrained]
    found = {line.group_id: _Audited(line.group_id, None, [], []) for line in every}
    for line in result.truth:
        found[line.group_id] = replace(found[line.group_id], truth=line)
    for line in result.misreports:
        found[line.group_id].misreports.append(line)
    for line in result.retrained:
        found[line.group_id].retrained.append(line)
    return found


def _heading(audited: _Audited, names: Mapping[str, str] | None) -> str:
    name = short_name((names or {}).get(audited.group_id, audited.group_id))
    return name if audited.truth is None else f"{name}, size {audited.truth.reported_size}"


def _incentives(cells: Sequence[Sequence[_Cell]], title: str) -> bytes:
    """A grid of panels; those of a row share the axis of gains, so that they compare."""
    if not cells or not cells[0]:
        raise ValueError("there is no audited group to draw")
    with style():
        figure = new_figure(3.9 * len(cells[0]), 2.4 * len(cells) + 1.1)
        grid = figure.subplots(len(cells), len(cells[0]), sharey="row", squeeze=False)
        for axes_row, row in zip(grid, cells, strict=True):
            for axes, cell in zip(axes_row, row, strict=True):
                _draw_cell(axes, cell)
            axes_row[0].set_ylabel("gain in utility\n(agent·reward units)")
        figure.suptitle(writable(title))
        figure.legend(
            handles=_legend(cells), loc="outside lower center", ncols=4, fontsize=8, frameon=False
        )
        return to_svg(figure, title)


def _draw_cell(axes: Any, cell: _Cell) -> None:
    audited, panel = cell.audited, cell.panel
    known = {name for series in panel.series for name in series.strategies}
    lies = [line for line in audited.misreports + audited.retrained if line.strategy in known]
    scale = [1.0, *(line.parameter for line in lies)]
    spike_at = 2 * max(scale)  # beyond every β: it is what `sharpen` tends to
    axes.set_xscale("log", base=2)
    axes.axhline(0.0, color=GREY, linewidth=0.8, zorder=0)
    for series in panel.series:
        drawn = [line for line in audited.misreports if line.strategy in series.strategies]
        if drawn and series.through_truth and audited.truth is not None:
            drawn.append(audited.truth)
        again = [line for line in audited.retrained if line.strategy in series.strategies]
        for with_payments in (False, True):
            _plot(axes, _points(drawn, with_payments, spike_at), with_payments, series)
            _plot(axes, _points(again, with_payments, spike_at), with_payments, None)
    axes.plot([1.0], [0.0], marker="*", color=BLACK, markersize=10, zorder=3)
    axes.set_title(cell.title)
    axes.set_xlabel(panel.label)
    _set_ticks(axes, scale, spike_at if "spike" in {line.strategy for line in lies} else None)


def _points(
    lines: Sequence[AuditLine], with_payments: bool, spike_at: float
) -> list[tuple[float, float]]:
    """(α or β, gain) of each line, from left to right."""
    return sorted(
        (
            spike_at if line.strategy == "spike" else line.parameter,
            line.gain if with_payments else line.gain_without_payments,
        )
        for line in lines
    )


def _plot(
    axes: Any,
    points: Sequence[tuple[float, float]],
    with_payments: bool,
    series: _Series | None,
) -> None:
    """A line of replays in closed form, or, without a series, marks of models trained anew."""
    colour = BLUE if with_payments else VERMILLION
    look: dict[str, Any] = {"linestyle": "none", **_TRAINED_ANEW}
    if series is not None:
        fill = colour if with_payments else "white"
        look = {"linestyle": series.line, "marker": series.marker, "markersize": 4.5}
        look["markerfacecolor"] = fill
    axes.plot([p[0] for p in points], [p[1] for p in points], color=colour, **look)


def _set_ticks(axes: Any, scale: Sequence[float], spike_at: float | None) -> None:
    """At most about seven powers of two, among them 1, and the place of `spike`."""
    low, high = math.floor(math.log2(min(scale))), math.floor(math.log2(max(scale)))
    stride = max(1, math.ceil((high - low) / 6))
    powers = [2.0**k for k in range(low, high + 1) if k % stride == 0]
    ticks, labels = list(powers), [f"{power:g}" for power in powers]
    if spike_at is not None:
        ticks.append(spike_at)
        labels.append("spike")
    axes.set_xticks(ticks, labels)
    axes.minorticks_off()


def _legend(cells: Sequence[Sequence[_Cell]]) -> list[Any]:
    from matplotlib.lines import Line2D

    every = [cell.audited for row in cells for cell in row]
    lied = {line.strategy for each in every for line in [*each.misreports, *each.retrained]}
    handles = [
        Line2D([], [], color=BLUE, marker="o", label="with payments"),
        Line2D([], [], color=VERMILLION, marker="o", mfc="white", label="without payments"),
        Line2D([], [], color=BLACK, marker="*", markersize=10, ls="none", label="truth"),
    ]
    handles += [
        Line2D([], [], color=GREY, marker=each.marker, ls=each.line, label=each.label)
        for each in (*_SIZE.series, *_REWARDS.series)
        if lied & set(each.strategies)
    ]
    if any(each.retrained for each in every):
        handles.append(Line2D([], [], color=GREY, ls="none", label="trained anew", **_TRAINED_ANEW))
    return handles
