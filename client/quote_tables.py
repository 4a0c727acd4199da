"""What a round would take, as tables and sentences."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table

from api_schemas.quotes import Estimate, QuoteResult
from client.outcome_tables import figure_table, money

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def quote_parts(found: QuoteResult) -> Iterator[RenderableType]:
    """Every stage with its range, then hours, storage and cost, and what all of it rests on."""
    yield _stage_table(found)
    hours = f"{_range(found.device_hours, '.3g')} hours of {found.device}"
    yield f"device hours: {hours}"
    stored = ", ".join(f"{each.what} {bytes_text(each.bytes)}" for each in found.storage)
    yield f"storage: {bytes_text(found.storage_bytes)} ({stored})"
    if found.cost is not None:
        low, high = found.cost.low_micro_units, found.cost.high_micro_units
        expected = money(found.cost.expected_micro_units, found.currency)
        between = f"{money(low, found.currency)} to {money(high, found.currency)}"
        yield f"cost: {expected}, from {between}"
    yield f"measured in {found.calibration_seconds:.0f} s; it is assumed that:"
    for assumption in found.assumptions:
        yield f"- {assumption}"


def bytes_text(count: int) -> str:
    """Like `1.5 MB`; below a thousand in bytes."""
    for size, unit in _UNITS:
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def seconds_text(seconds: float) -> str:
    """Like `42 s`, `3 min 20 s` or `2 h 05 min`."""
    if seconds < 120:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _stage_table(found: QuoteResult) -> Table:
    title = (
        f"{found.groups} groups, {found.prompts} prompts, {found.trainings} trainings on "
        f"{found.device}"
    )
    table = figure_table(title, ["stage"], ["seconds", "at least", "at most"])
    table.add_column("how")
    start = f"processes {found.start.process_seconds:.1f} s, "
    start += f"loading the model {found.start.model_load_seconds:.1f} s"
    table.add_row("start", *_cells(found.start.seconds), start)
    for stage in found.stages:
        table.add_row(stage.stage, *_cells(stage.seconds), stage.formula)
    table.add_row("all", *_cells(found.seconds), "")
    return table


def _cells(estimate: Estimate) -> tuple[str, str, str]:
    return (
        seconds_text(estimate.expected),
        seconds_text(estimate.low),
        seconds_text(estimate.high),
    )


def _range(estimate: Estimate, form: str) -> str:
    low, high = format(estimate.low, form), format(estimate.high, form)
    return f"{format(estimate.expected, form)} ({low} to {high})"
