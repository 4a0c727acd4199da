"""The figures of docs/scale.md: a round's dollars against groups, and against the base model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workers.plots.svg import COLOURS, new_figure, style, to_svg

from .costs import GROUPS, METHODS, by_method, cost
from .shapes import LLAMA_8B, MODELS
from .stages import RoundSize

FOLDER = Path(__file__).parents[2] / "docs" / "figures"
_DRAWN = [method for method in METHODS if method != "bound"]
"""`bound` costs what `closed_form` does."""
_MARKERS = "os^vDP"
_LINES = ("-", "--", "-.", ":", "-", "--")


def against_groups(found: Mapping[str, Any]) -> bytes:
    """The 8B model, every counterfactual method."""
    title = "A round on an 8B model, by groups and counterfactual method"
    with style():
        figure = new_figure(8.0, 4.2)
        axes = figure.subplots()
        for place, method in enumerate(_DRAWN):
            costs = [(groups, by_method(LLAMA_8B, method, groups, found)) for groups in GROUPS]
            points = [(groups, each.dollars) for groups, each in costs if each is not None]
            axes.loglog(
                *zip(*points, strict=True),
                _LINES[place],
                marker=_MARKERS[place],
                color=COLOURS[place],
                label="closed_form and bound" if method == "closed_form" else method,
            )
        axes.set_xticks(GROUPS, [f"{groups:,}" for groups in GROUPS])
        axes.set_xlabel("groups")
        _dollars(axes)
        axes.set_title(title)
        axes.grid(True, which="major", alpha=0.3)
        axes.legend(frameon=False)
        return to_svg(figure, title)


def against_models(found: Mapping[str, Any]) -> bytes:
    """Ten groups, without further trainings and with one for each group."""
    title = "A round of ten groups, by the base model's size"
    with style():
        figure = new_figure(8.0, 3.6)
        axes = figure.subplots()
        for place, method in enumerate(("closed_form", "retrain")):
            size = replace(RoundSize(10), counterfactuals=method)
            points = [(each.parameters, cost(each, size, found).dollars) for each in MODELS]
            axes.loglog(
                *zip(*points, strict=True),
                _LINES[place],
                marker=_MARKERS[place],
                color=COLOURS[place],
                label=method,
            )
        axes.set_xticks([shape.parameters for shape in MODELS], [shape.name for shape in MODELS])
        axes.set_xlabel("base model, by its weights P")
        _dollars(axes)
        axes.set_title(title)
        axes.grid(True, which="major", alpha=0.3)
        axes.legend(frameon=False, loc="upper left")
        return to_svg(figure, title)


def _dollars(axes: Any) -> None:
    """Plain figures: the style writes no formulas, which the powers of ten would be."""
    axes.set_ylabel("dollars a round (at the assumed prices)")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()


FIGURES: Mapping[str, Callable[[Mapping[str, Any]], bytes]] = {
    "scale-groups.svg": against_groups,
    "scale-models.svg": against_models,
}


def write_all(found: Mapping[str, Any]) -> None:
    for name, draw in FIGURES.items():
        (FOLDER / name).write_bytes(draw(found))
