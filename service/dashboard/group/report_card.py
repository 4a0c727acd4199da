"""The figures of a report card's drawing as tables, for whoever can't see it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api_schemas.report_cards import (
    Accuracy,
    Calibration,
    Curve,
    Figure,
    ReportCard,
    ScoreDistribution,
)

_Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Table:
    """As the macro `table` of charts.html takes it: a column a series, as long as the rows."""

    caption: str
    row_label: str
    rows: list[str]
    series: list[dict[str, Any]]


def card_tables(card: ReportCard) -> Iterator[Table]:
    """A table for each panel that the card has, in the drawing's order."""
    measured = {"held-out prompts": card.accuracy, "other data": card.out_of_distribution}
    known = {name: found for name, found in measured.items() if found is not None}
    if known:
        yield _accuracies(known)
    if card.calibration is not None:
        yield _calibration(card.calibration)
    if card.scores is not None:
        yield _scores(card.scores)
    yield from map(_curve, card.curves)
    if card.figures:
        yield _figures(card.figures)


def _accuracies(known: dict[str, Accuracy]) -> Table:
    found = list(known.values())
    columns: _Columns = {
        "accuracy": [each.value for each in found],
        "from": [each.low for each in found],
        "to": [each.high for each in found],
        "pairs": [each.pairs for each in found],
        "prompts": [each.prompts for each in found],
    }
    caption = "Share of pairs ranked as people do, 95 % interval"
    return Table(caption, "measured on", list(known), _series(columns))


def _calibration(found: Calibration) -> Table:
    columns: _Columns = {
        "predicted share of votes": [each.predicted for each in found.bins],
        "observed": [each.observed for each in found.bins],
        "pairs": [each.pairs for each in found.bins],
    }
    rows = [str(place) for place in range(1, len(found.bins) + 1)]
    caption = f"Calibration; log loss {found.log_loss:.4g}, knowing nothing gives 0.6931"
    return Table(caption, "bin", rows, _series(columns))


def _scores(found: ScoreDistribution) -> Table:
    columns: _Columns = {"chosen": found.chosen, "rejected": found.rejected}
    between = zip(found.edges, found.edges[1:], strict=False)
    rows = [f"{low:.4g} to {high:.4g}" for low, high in between]
    return Table("Raw scores of held-out responses", "score", rows, _series(columns))


def _curve(curve: Curve) -> Table:
    columns: _Columns = {}
    for series in curve.series:
        columns[series.name] = series.y
        if series.standard_errors is not None:
            columns[f"{series.name}, standard error"] = series.standard_errors
    rows = [f"{x:.4g}" for x in curve.x]
    return Table(curve.title, curve.x_label, rows, _series(columns))


def _figures(found: list[Figure]) -> Table:
    columns: _Columns = {
        "value": [each.value for each in found],
        "standard error": [each.standard_error for each in found],
    }
    return Table("Of the method itself", "figure", [each.name for each in found], _series(columns))


def _series(columns: _Columns) -> list[dict[str, Any]]:
    return [{"label": label, "values": values} for label, values in columns.items()]
