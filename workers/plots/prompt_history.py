"""How an answering prompt became better: every candidate's score, and what it was made from."""

from collections.abc import Sequence
from typing import Any

from api_schemas.corpora import PromptCandidate, PromptHistory
from workers.plots.report_card import short_title
from workers.plots.svg import BLACK, BLUE, COLOURS, GREY, VERMILLION, new_figure, style, to_svg

_LOOKS = {
    "announced": ("announced", "D", BLACK),
    "initial": ("written to start with", "o", GREY),
    "reflection": ("reflection on its parent", "^", BLUE),
    "resampling": ("after the list of prompts", "s", VERMILLION),
}
_SPREAD = 0.6
"""Of the way from one iteration to the next, which the points of one iteration take."""


def prompt_history_figure(history: PromptHistory, title: str) -> bytes:
    """Score against iteration, a point a candidate, a line from each parent to its child.

    A star marks the best candidate, a step line the best so far. The same bytes for the same
    history. Raises ValueError for a history without a candidate.
    """
    if not history.candidates:
        raise ValueError("the history has no candidate to draw")
    places = _places(history.candidates)
    with style():
        figure = new_figure(8.0, 5.0)
        axes = figure.subplots()
        _draw_lines(axes, history.candidates, places)
        _draw_best_so_far(axes, history.candidates)
        _draw_points(axes, history.candidates, places)
        _mark_best(axes, history, places)
        axes.set_xticks(range(max(each.iteration for each in history.candidates) + 1))
        axes.set_xlabel("iteration")
        axes.set_ylabel(f"score (judge's 1 to 10, less {history.alpha:g}·max(0, len/len_ref − 1))")
        axes.set_title(short_title(title))
        figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
        return to_svg(figure, title)


def _places(candidates: Sequence[PromptCandidate]) -> dict[int, float]:
    """By index: side by side in their iteration, in the order of their writing."""
    found = {}
    for iteration in {each.iteration for each in candidates}:
        row = [each.index for each in candidates if each.iteration == iteration]
        for place, index in enumerate(row):
            found[index] = iteration + _SPREAD * ((place + 0.5) / len(row) - 0.5)
    return found


def _draw_lines(axes: Any, candidates: Sequence[PromptCandidate], places: dict[int, float]) -> None:
    scores = {each.index: each.score for each in candidates}
    for child in candidates:
        if child.parent is not None:
            across = [places[child.parent], places[child.index]]
            up = [scores[child.parent], child.score]
            axes.plot(across, up, color=COLOURS[5], linewidth=0.9, zorder=1)


def _draw_best_so_far(axes: Any, candidates: Sequence[PromptCandidate]) -> None:
    last = max(each.iteration for each in candidates)
    best = [
        max(each.score for each in candidates if each.iteration <= iteration)
        for iteration in range(last + 1)
    ]
    look = {"color": GREY, "linewidth": 1.0, "linestyle": ":", "label": "best so far"}
    axes.step([*range(last + 1), last + 0.5], [*best, best[-1]], where="mid", zorder=0, **look)


def _draw_points(
    axes: Any, candidates: Sequence[PromptCandidate], places: dict[int, float]
) -> None:
    for origin, (label, marker, colour) in _LOOKS.items():
        drawn = [each for each in candidates if each.origin == origin]
        if drawn:
            across, up = [places[each.index] for each in drawn], [each.score for each in drawn]
            look = {"marker": marker, "color": colour, "markersize": 5, "linestyle": "none"}
            axes.plot(across, up, label=label, zorder=2, **look)


def _mark_best(axes: Any, history: PromptHistory, places: dict[int, float]) -> None:
    best = next(each for each in history.candidates if each.index == history.best)
    where = places[best.index], best.score
    star = {"marker": "*", "markersize": 15, "markerfacecolor": "none", "color": BLACK}
    axes.plot(*where, linestyle="none", label="best", zorder=3, **star)
    text = f"candidate {best.index}: {best.score:.2f}"
    axes.annotate(text, where, xytext=(0, 10), textcoords="offset points", ha="center")
    axes.margins(y=0.12)
