"""What an audit found, as tables and in a sentence."""

from collections.abc import Callable, Mapping, Sequence

from rich.table import Table

from api_schemas.audits import AuditLine, AuditResult
from client.outcome_tables import figure, figure_table

_ROUNDING = 1e-9
"""A gain below it, in agent·reward units, is the rounding of float64."""


def audit_table(result: AuditResult, names: Mapping[str, str]) -> Table:
    """For every group the false report that gains it most, with payments and without."""
    table = figure_table("largest gains, agent·reward units", ["group"], ["with payments"])
    table.add_column("by")
    table.add_column("without payments", justify="right", no_wrap=True)
    table.add_column("by")
    for truth in result.truth:
        tried = [line for line in result.misreports if line.group_id == truth.group_id]
        table.add_row(
            names.get(truth.group_id, truth.group_id),
            *_best(tried, lambda line: line.gain),
            *_best(tried, lambda line: line.gain_without_payments),
        )
    return table


def retrained_table(result: AuditResult, names: Mapping[str, str]) -> Table:
    """One line for every misreport that the models were trained anew for."""
    numbers = ["gain with payments", "without payments"]
    table = figure_table("trained anew", ["group", "misreport"], numbers)
    for line in result.retrained:
        table.add_row(
            names.get(line.group_id, line.group_id),
            misreport_text(line),
            figure(line.gain),
            figure(line.gain_without_payments),
        )
    return table


def conclusion(result: AuditResult) -> str:
    """Does the mechanism keep its promise on this round, and was it needed?"""
    with_payments, without = result.largest_gain, result.largest_gain_without_payments
    if with_payments is None or without is None:
        return "No misreport was replayed on the pool: the round would refuse them all."
    replays = f"Of {len(result.misreports)} misreports on the pool"
    if with_payments > _ROUNDING:
        return f"{replays}, one gains {with_payments:.6g} in spite of the payments."
    if without > _ROUNDING:
        return f"{replays}, none gains with payments; without them one gains {without:.6g}."
    return f"{replays}, none gains, with payments or without."


def misreport_text(line: AuditLine) -> str:
    if line.strategy in ("inflate", "deflate"):
        return f"{line.strategy} α={line.parameter:g} (size {line.reported_size})"
    return line.strategy if line.strategy == "spike" else f"{line.strategy} β={line.parameter:g}"


def _best(lines: Sequence[AuditLine], gain: Callable[[AuditLine], float]) -> tuple[str, str]:
    if not lines:
        return "-", "-"
    best = max(lines, key=gain)
    return figure(gain(best)), misreport_text(best)
