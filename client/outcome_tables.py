"""What a round came to, as tables: its outcome, invoices and receipts."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from api_schemas.ledger import Invoice, Receipt
from api_schemas.outcomes import HoldoutValuation, IncentiveCertificate, Outcome, WorldOutcome
from api_schemas.rounds import Regularizer
from client.names import named, world_name

MICRO = 1_000_000


def money(micro_units: int | None, currency: str) -> str:
    """Millionths as a decimal number, exactly: 1234567 → `1.234567 EUR`."""
    if micro_units is None:
        return "-"
    sign, size = ("-" if micro_units < 0 else ""), abs(micro_units)
    return f"{sign}{size // MICRO}.{size % MICRO:06d} {currency}"


def group_table(outcome: Outcome, names: Mapping[str, str]) -> Table:
    """One line a group; valuations are per agent, payment and utility for the whole group.

    The surcharge is part of the payment, and has a column where there is one.
    """
    surcharged = any(line.surcharge is not None for line in outcome.groups)
    payment = ["payment", "surcharge"] if surcharged else ["payment"]
    numbers = ["size", "v under π₀", "v tuned", *payment, "utility"]
    table = figure_table("groups", ["group"], numbers)
    table.add_column("amount", justify="right")
    for line in outcome.groups:
        table.add_row(
            names.get(line.group_id, line.group_id),
            str(line.size),
            figure(line.valuation_initial),
            figure(line.valuation),
            figure(line.payment),
            *([figure(line.surcharge)] if surcharged else []),
            figure(line.utility),
            line.excluded or money(line.amount_micro_units, outcome.currency),
        )
    return table


def world_outcome_table(outcome: Outcome, names: Mapping[str, str]) -> Table:
    """One line a world, and one for the adapter that is delivered; none where all are hidden.

    ESS: effective samples of the pool, the mean and the smallest over the prompts.
    """
    numbers = ["ASW(π₀)", "ASW", "ASW*", "gap", _divergence(outcome), "ESS", "min"]
    table = figure_table("worlds on the pool", ["world", "chosen"], numbers)
    for world in outcome.worlds:
        table.add_row(world_name(world.world, names), *_world_cells(world, names))
    if outcome.delivered is not None:
        table.add_row("delivered", *_world_cells(outcome.delivered, names))
    return table


def agreement_table(outcome: Outcome, names: Mapping[str, str]) -> Table | None:
    """Spearman's ρ between every two groups' rewards; None for a group, who isn't told."""
    found = outcome.reward_agreement
    if found is None:
        return None
    titles = [names.get(group_id, group_id) for group_id in found.group_ids]
    table = figure_table("agreement, Spearman's ρ", ["group"], titles)
    for title, row in zip(titles, found.spearman, strict=True):
        table.add_row(title, *("-" if rho is None else f"{rho:+.2f}" for rho in row))
    return table


def invoice_table(invoices: Sequence[Invoice], names: Mapping[str, str]) -> Table:
    table = figure_table("invoices", ["number", "group", "status"], ["amount", "due"])
    for invoice in invoices:
        number = "-" if invoice.number is None else str(invoice.number)
        name = names.get(invoice.group_id, invoice.group_id)
        amounts = (invoice.amount_micro_units, invoice.amount_due_micro_units)
        shown = [money(amount, invoice.currency) for amount in amounts]
        table.add_row(number, name, invoice.status, *shown)
    return table


def receipt_table(receipt: Receipt, names: Mapping[str, str]) -> Table:
    """Every field of the body, the digest that fixes them, and who signed them."""
    group = names.get(receipt.body.group_id, receipt.body.group_id)
    table = figure_table(f"receipt {receipt.id} of the {group}", ["field"], [])
    table.add_column("value", overflow="fold")
    for name, value in receipt.body.model_dump(mode="json").items():
        table.add_row(name, "-" if value is None else str(value))
    table.add_row("body_digest", receipt.body_digest)
    if receipt.signature is not None:
        table.add_row("signed with", receipt.signature.key_id)
    return table


def summary_lines(outcome: Outcome, names: Mapping[str, str]) -> list[str]:
    """Certificate, held-out and fresh samples, and warnings, in words."""
    lines = certificate_lines(outcome.certificate, outcome.currency)
    if outcome.holdout is not None:
        lines.append(holdout_line(outcome.holdout, outcome.regularizer))
    if outcome.fresh is not None:
        fresh = outcome.fresh
        lines.append(
            f"on {fresh.samples} fresh samples ASW went from {fresh.welfare_initial:.3f} ± "
            f"{fresh.welfare_initial_standard_error:.3f} to {fresh.welfare:.3f} ± "
            f"{fresh.welfare_standard_error:.3f}: a gain of {fresh.gain:.3f} ± "
            f"{fresh.gain_standard_error:.3f} at {_divergence(outcome)} {fresh.divergence:.3f}"
        )
    return [*lines, *(f"warning: {named(warning, names)}" for warning in outcome.warnings)]


def certificate_lines(certificate: IncentiveCertificate, currency: str | None = None) -> list[str]:
    """The guarantee, the bound (in money too, if the currency is known), and what it rests on."""
    if certificate.largest_gain is None:
        return [certificate.guarantee, certificate.figures]
    bound = f"no misreport gains more than {certificate.largest_gain:.4f} agent·reward units"
    if currency is not None:
        bound += f" ({money(certificate.largest_gain_micro_units, currency)})"
    if certificate.estimate:
        bound += ", by an estimate: models were valued beyond the pool"
    figures = [certificate.figures] if certificate.figures else []
    return [certificate.guarantee, bound, *figures]


def holdout_line(holdout: HoldoutValuation, regularizer: Regularizer) -> str:
    return (
        f"on the held-out pool ASW went from {holdout.welfare_initial:.3f} to "
        f"{holdout.welfare:.3f}, {holdout.optimality_gap:.3f} below the optimum there, at "
        f"{regularizer.type.upper()} {holdout.divergence:.3f}"
    )


def _divergence(outcome: Outcome) -> str:
    return outcome.regularizer.type.upper()


def _world_cells(world: WorldOutcome, names: Mapping[str, str]) -> list[str]:
    return [
        _chosen(world, names),
        figure(world.welfare_initial),
        figure(world.welfare),
        figure(world.welfare_optimum),
        figure(world.optimality_gap),
        figure(world.divergence),
        f"{world.effective_samples_mean:.1f}",
        f"{world.effective_samples_minimum:.1f}",
    ]


def _chosen(world: WorldOutcome, names: Mapping[str, str]) -> str:
    """A world's own adapter by its step alone, another world's by its name too.

    A soup is shown as it is called, but with the groups' names.
    """
    name, _, step = world.chosen.rpartition("@")
    if not name or not step.isdecimal():
        known = {"initial": "π₀", "pool_optimum": "optimum"}
        return known.get(world.chosen, named(world.chosen, names))
    return f"step {step}" if name == world.world else f"{world_name(name, names)}, step {step}"


def figure_table(title: str, texts: list[str], numbers: list[str]) -> Table:
    """An empty table with columns of texts, then of right-aligned numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for text in texts:
        table.add_column(text)
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
