"""A reward model's report card on one page."""

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from api_schemas.report_cards import Accuracy, Calibration, Curve, ReportCard, ScoreDistribution
from workers.plots.svg import (
    BLACK,
    BLUE,
    COLOURS,
    GREY,
    VERMILLION,
    new_figure,
    short_name,
    style,
    to_svg,
    writable,
)

MAX_CURVES = 6
"""Of the method's own curves, as many are drawn; the card as JSON has them all."""

MAX_FIGURES = 12
_COLUMNS = 2
_MARKERS = "os^vDP"
_LINES = ("-", "--", "-.", ":")


def report_card_figure(card: ReportCard, title: str) -> bytes:
    """Accuracy, calibration, scores and length, the method's curves and figures, and its notes.

    The same bytes for the same card. What is null is missing on the page, and the notes say why.
    """
    panels: list[Callable[[Any], None]] = [lambda axes: _draw_accuracies(axes, card)]
    if card.calibration is not None:
        found = card.calibration
        panels.append(lambda axes: _draw_calibration(axes, found))
    if card.scores is not None:
        scores = card.scores
        panels.append(lambda axes: _draw_scores(axes, scores))
    panels += [_panel_of(curve) for curve in card.curves[:MAX_CURVES]]
    rows = -(-len(panels) // _COLUMNS)
    lines = _lines(card)
    with style():
        figure = new_figure(8.2, 2.9 * rows + 0.17 * len(lines) + 0.7)
        heights = [2.9] * rows + [0.17 * len(lines) + 0.2]
        grid = figure.add_gridspec(rows + 1, _COLUMNS, height_ratios=heights)
        for place, draw in enumerate(panels):
            draw(figure.add_subplot(grid[place // _COLUMNS, place % _COLUMNS]))
        _write(figure.add_subplot(grid[rows, :]), lines)
        figure.suptitle(short_title(title))
        return to_svg(figure, title)


def short_title(title: str) -> str:
    return "\n".join(textwrap.wrap(writable(title), 90)) or "Report card"


def _panel_of(curve: Curve) -> Callable[[Any], None]:
    return lambda axes: _draw_curve(axes, curve)


def _draw_accuracies(axes: Any, card: ReportCard) -> None:
    """Points with their 95 % intervals, on the whole scale from 0 to 1."""
    rows = [("held-out\nprompts", card.accuracy), ("other data", card.out_of_distribution)]
    known = [(name, each) for name, each in rows if each is not None]
    axes.set_title("Share of pairs ranked as people do, 95 % interval")
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, 1)
    axes.set_ylim(len(known) - 0.4 if known else 0.6, -0.6)
    axes.set_yticks(range(len(known)), [name for name, _ in known])
    axes.set_xlabel("accuracy (0.5: chance)")
    for place, (_, found) in enumerate(known):
        _draw_accuracy(axes, place, found)
    if not known:
        axes.text(0.5, 0, "not measured", ha="center", va="bottom", color=GREY)


def _draw_accuracy(axes: Any, place: int, found: Accuracy) -> None:
    axes.plot([found.low, found.high], [place, place], color=BLUE, linewidth=2, zorder=1)
    axes.plot([found.low, found.high], [place, place], "|", color=BLUE, markersize=10, zorder=1)
    axes.plot([found.value], [place], "o", color=BLACK, markersize=6, zorder=2)
    text = f"{found.value:.3f}  [{found.low:.3f}, {found.high:.3f}]"
    axes.text(0.02, place - 0.22, text, ha="left", va="bottom")
    axes.text(
        0.02,
        place + 0.22,
        f"{found.pairs} pairs on {found.prompts} prompts",
        ha="left",
        va="top",
        fontsize=8,
        color=GREY,
    )


def _draw_calibration(axes: Any, found: Calibration) -> None:
    """Both halves of the curve; the area of a mark is its bin's number of pairs."""
    largest = max(each.pairs for each in found.bins)
    q = [each.predicted for each in found.bins]
    o = [each.observed for each in found.bins]
    areas = [10 + 70 * each.pairs / largest for each in found.bins]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    mirrored = [1 - each for each in reversed(q)], [1 - each for each in reversed(o)]
    axes.plot([*mirrored[0], *q], [*mirrored[1], *o], color=BLUE, linewidth=1)
    axes.scatter(mirrored[0], mirrored[1], s=areas[::-1], color="white", edgecolor=BLUE, zorder=2)
    axes.scatter(q, o, s=areas, color=BLUE, zorder=2)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_title("Calibration")
    axes.set_xlabel("predicted share of votes")
    axes.set_ylabel("observed share of votes")
    text = f"error {found.error:.3f} (by chance {found.chance:.3f})\nlog loss {found.log_loss:.4g}"
    axes.text(0.98, 0.02, text, ha="right", va="bottom", transform=axes.transAxes)


def _draw_scores(axes: Any, found: ScoreDistribution) -> None:
    """Outlines, so that neither hides the other; scores are drawn as multiples of a power of 10.

    Thus scores near the largest float can be drawn too.
    """
    largest = max(abs(found.minimum), abs(found.maximum))
    power = max(-300, math.floor(math.log10(largest))) if largest else 0
    unit = 10.0**power if power > 4 or power < -3 else 1.0
    edges = [edge / unit for edge in found.edges]
    if edges[0] == edges[-1]:
        edges = [edges[0] - 0.5, edges[0] + 0.5]
    axes.stairs(found.chosen, edges, color=BLUE, linewidth=1.6, label="chosen", fill=False)
    axes.stairs(
        found.rejected, edges, color=VERMILLION, linewidth=1.2, linestyle="--", label="rejected"
    )
    axes.set_title("Raw scores of held-out responses")
    axes.set_xlabel("score" if unit == 1.0 else f"score / 1e{power}")
    axes.set_ylabel("responses")
    axes.legend(fontsize=8, frameon=False)


def _draw_curve(axes: Any, curve: Curve) -> None:
    for place, series in enumerate(curve.series):
        look = {
            "color": COLOURS[place % len(COLOURS)],
            "marker": _MARKERS[place % len(_MARKERS)],
            "linestyle": _LINES[place % len(_LINES)],
            "markersize": 4,
            "label": short_name(series.name),
        }
        if series.standard_errors is None:
            axes.plot(curve.x, series.y, **look)
        else:
            axes.errorbar(curve.x, series.y, yerr=series.standard_errors, capsize=2, **look)
    axes.set_title("\n".join(textwrap.wrap(writable(curve.title), 42)))
    axes.set_xlabel(short_name(curve.x_label))
    axes.set_ylabel(short_name(curve.y_label))
    if len(curve.series) > 1:
        axes.legend(fontsize=8, frameon=False)


def _lines(card: ReportCard) -> list[tuple[str, str]]:
    """The table below the panels: names and what they are."""
    found = [("data", _data(card))]
    if card.length_correlation is not None:
        found.append(("length", f"Spearman's ρ of score and length {card.length_correlation:+.2f}"))
    for figure in card.figures[:MAX_FIGURES]:
        error = "" if figure.standard_error is None else f" ± {figure.standard_error:.2g}"
        found.append((short_name(figure.name), f"{figure.value:.4g}{error}"))
    left_out = len(card.figures) - MAX_FIGURES, len(card.curves) - MAX_CURVES
    if max(left_out) > 0:
        found.append(("more", _left_out(*left_out)))
    notes = textwrap.wrap(writable(card.note), 95) if card.note else []
    found += [("note" if place == 0 else "", line) for place, line in enumerate(notes)]
    return found


def _data(card: ReportCard) -> str:
    return (
        f"{card.n_pairs} pairs on {card.n_prompts} prompts; {card.n_train} trained on, "
        f"{card.n_holdout} held out"
    )


def _left_out(figures: int, curves: int) -> str:
    counts = [(figures, "figures"), (curves, "curves")]
    named = [f"{count} {name}" for count, name in counts if count > 0]
    return f"{' and '.join(named)} are in the card's JSON only"


def _write(axes: Any, lines: Sequence[tuple[str, str]]) -> None:
    axes.set_axis_off()
    for place, (name, text) in enumerate(lines):
        height = 1 - (place + 0.5) / len(lines)
        axes.text(0.0, height, name, va="center", fontsize=8, color=GREY)
        axes.text(0.3, height, text, va="center", fontsize=8)
