"""What is known of a reward model, and of uploaded preference data, as people read it."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table

from api_schemas.datasets import DataValidation
from api_schemas.report_cards import Accuracy, Curve, ReportCard
from client.outcome_tables import figure, figure_table

_PROBLEMS_SHOWN = 10


def card_parts(card: ReportCard) -> Iterator[RenderableType]:
    """The data in a sentence, the figures, the method's own curves, and what is missing and why."""
    yield _data_line(card)
    yield _figure_table(card)
    for curve in card.curves:
        yield _curve_table(curve)
    if card.note is not None:
        yield f"note: {card.note}"


def validation_parts(found: DataValidation) -> Iterator[RenderableType]:
    """Counts, and the first lines that can't be used as they are."""
    table = figure_table("preference data", ["what"], ["count"])
    counts = found.model_dump(exclude={"problems"})
    for name, count in counts.items():
        if count or name in ("lines", "pairs", "prompts"):
            table.add_row(name.replace("_", " "), str(count))
    yield table
    for problem in found.problems[:_PROBLEMS_SHOWN]:
        yield f"line {problem.line}: {problem.problem}"
    if len(found.problems) > _PROBLEMS_SHOWN:
        yield f"and {len(found.problems) - _PROBLEMS_SHOWN} more; --json shows them"


def accuracy_text(accuracy: Accuracy | None) -> str:
    """As `0.743 [0.701, 0.782]`, the value and its 95 % interval."""
    if accuracy is None:
        return "-"
    return f"{accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]"


def _data_line(card: ReportCard) -> str:
    dropped = {
        "duplicates": card.n_duplicates_dropped,
        "ties": card.n_ties_dropped,
        "unusable lines": card.n_unusable_dropped,
    }
    left_out = ", ".join(f"{count} {what}" for what, count in dropped.items() if count)
    return (
        f"{card.n_pairs} pairs of {card.n_prompts} prompts"
        + (f", without {left_out}" if left_out else "")
        + f"; fitted to {card.n_train} pairs, measured on {card.n_holdout}"
    )


def _figure_table(card: ReportCard) -> Table:
    table = figure_table("report card", ["figure"], ["value", "standard error"])
    table.add_column("remark")
    _add_accuracy(table, "accuracy on held-out prompts", card.accuracy)
    if card.out_of_distribution is not None:
        _add_accuracy(table, "accuracy out of distribution", card.out_of_distribution)
    if card.calibration is not None:
        by_chance = f"{card.calibration.chance:.4f} by chance alone"
        table.add_row("calibration error", figure(card.calibration.error), "", by_chance)
        knowing_nothing = "0.6931 knowing nothing"
        table.add_row("log loss", figure(card.calibration.log_loss), "", knowing_nothing)
    if card.scores is not None:
        spread = f"{card.scores.minimum:.4g} to {card.scores.maximum:.4g}"
        deviation = figure(card.scores.standard_deviation)
        table.add_row("mean score", figure(card.scores.mean), "", f"±{deviation}, {spread}")
    table.add_row("length correlation", figure(card.length_correlation), "", "")
    for each in card.figures:
        table.add_row(each.name, figure(each.value), figure(each.standard_error), "")
    return table


def _add_accuracy(table: Table, name: str, found: Accuracy | None) -> None:
    if found is None:
        table.add_row(name, "-", "", "")
        return
    remark = (
        f"95 % interval [{found.low:.3f}, {found.high:.3f}], {found.pairs} pairs of "
        f"{found.prompts} prompts"
    )
    table.add_row(name, figure(found.value), figure(found.standard_error), remark)


def _curve_table(curve: Curve) -> Table:
    """One line for each x; the series side by side."""
    names = [series.name for series in curve.series]
    table = figure_table(f"{curve.title} ({curve.y_label})", [], [curve.x_label, *names])
    for i, x in enumerate(curve.x):
        table.add_row(f"{x:g}", *(figure(series.y[i]) for series in curve.series))
    return table
