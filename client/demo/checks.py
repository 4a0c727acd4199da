"""What must hold of a settled round, whatever training achieved. Values in, complaints out.

The inequalities are those of the mechanism: with the grand world's candidates holding π₀ and every
counterfactual model, utility can't be negative; a payment can't be below −(gap of the world
without the group); no valuation on the pool can exceed the closed form's.
"""

import math
from collections.abc import Iterator, Sequence

from api_schemas.ledger import Invoice, Receipt
from api_schemas.outcomes import GroupOutcome, Outcome, WorldOutcome
from api_schemas.rounds import Round
from client.receipts.files import digest_of

_TOLERANCE = 1e-9


def complaints(
    round_: Round,
    sizes: dict[str, int],
    outcome: Outcome,
    invoices: Sequence[Invoice],
    receipts: Sequence[Receipt],
    least_gain_standard_errors: float | None,
) -> list[str]:
    """Everything that does not hold, in words; `sizes` are the reported ones by group id."""
    return [
        *_round_complaints(round_, outcome),
        *_group_complaints(sizes, outcome),
        *_world_complaints(sizes, outcome),
        *_invoice_complaints(outcome, invoices),
        *_receipt_complaints(round_, outcome, invoices, receipts),
        *_gain_complaints(outcome, least_gain_standard_errors),
    ]


def _round_complaints(round_: Round, outcome: Outcome) -> Iterator[str]:
    if round_.state != "settled":
        yield f"the round is {round_.state}, not settled"
    if digest_of(round_.announcement.model_dump(mode="json")) != round_.announcement_digest:
        yield "the announcement does not have the digest that the round names"
    if outcome.announcement_digest != round_.announcement_digest:
        yield "the outcome names another announcement"


def _group_complaints(sizes: dict[str, int], outcome: Outcome) -> Iterator[str]:
    if {line.group_id: line.size for line in outcome.groups} != sizes:
        yield "the outcome's groups and sizes are not those that reported"
    for line in outcome.groups:
        if line.excluded is not None:
            yield f"{line.group_id} was excluded: {line.excluded}"
        else:
            yield from _line_complaints(line, outcome)


def _line_complaints(line: GroupOutcome, outcome: Outcome) -> Iterator[str]:
    figures = (
        line.valuation_initial,
        line.valuation,
        line.others_welfare_without,
        line.others_welfare_with,
        line.payment,
        line.utility,
    )
    if any(figure is None for figure in figures):
        yield f"{line.group_id}: the operator's view lacks a figure"
        return
    initial, valuation, without, with_, payment, utility = (figure or 0.0 for figure in figures)
    if not (0 <= initial <= 1 and 0 <= valuation <= 1):
        yield f"{line.group_id}: a valuation lies outside [0, 1]"
    if not _close(payment, without - with_):
        yield f"{line.group_id}: payment {payment} is not {without} − {with_}"
    if not _close(utility, line.size * valuation - payment):
        yield f"{line.group_id}: utility {utility} is not {line.size}·{valuation} − {payment}"
    if utility < -_TOLERANCE:
        yield f"{line.group_id}: utility {utility} is negative"
    gap = next((w.optimality_gap for w in outcome.worlds if w.without_group_id == line.group_id), 0)
    if payment < -gap - _TOLERANCE:
        yield f"{line.group_id}: payment {payment} is below −{gap}, the gap of the world without it"
    if line.amount_micro_units != math.floor(payment * outcome.price_per_unit_micro_units):
        yield f"{line.group_id}: {line.amount_micro_units} is not floor({payment} × price)"


def _world_complaints(sizes: dict[str, int], outcome: Outcome) -> Iterator[str]:
    expected = {None, *sizes}
    if {world.without_group_id for world in outcome.worlds} != expected:
        yield "the worlds are not the grand one and one without each group"
    for world in outcome.worlds:
        yield from _one_world_complaints(world)
    grand = next((w for w in outcome.worlds if w.without_group_id is None), None)
    gain = outcome.certificate.largest_gain
    if grand and (gain is None or not _close(grand.optimality_gap, gain)):
        yield "the certificate's largest gain is not the grand world's optimality gap"


def _one_world_complaints(world: WorldOutcome) -> Iterator[str]:
    gap = world.welfare_optimum - world.welfare
    if not _close(gap, world.optimality_gap):
        yield f"{world.world}: gap {world.optimality_gap} is not {gap}"
    if gap < -_TOLERANCE:
        yield f"{world.world}: ASW {world.welfare} exceeds the optimum {world.welfare_optimum}"
    if world.welfare < world.welfare_initial - _TOLERANCE:
        yield f"{world.world}: a model worse than π₀ was chosen, though π₀ is a candidate"
    if world.divergence < -_TOLERANCE or world.effective_samples_minimum < 1 - _TOLERANCE:
        yield f"{world.world}: impossible divergence or effective sample size"


def _invoice_complaints(outcome: Outcome, invoices: Sequence[Invoice]) -> Iterator[str]:
    by_group = {invoice.group_id: invoice for invoice in invoices}
    if len(by_group) != len(invoices) or len(invoices) != len(outcome.groups):
        yield f"{len(invoices)} invoices for {len(outcome.groups)} groups, one each was expected"
    for line in outcome.groups:
        invoice = by_group.get(line.group_id)
        if invoice and invoice.amount_micro_units != line.amount_micro_units:
            yield f"invoice {invoice.number}: its amount is not the outcome's"


def _receipt_complaints(
    round_: Round, outcome: Outcome, invoices: Sequence[Invoice], receipts: Sequence[Receipt]
) -> Iterator[str]:
    lines = {line.group_id: line for line in outcome.groups}
    if {receipt.id for receipt in receipts} != {invoice.receipt_id for invoice in invoices}:
        yield "the receipts are not those that the invoices name"
    for receipt in receipts:
        body, line = receipt.body, lines.get(receipt.body.group_id)
        if digest_of(body.model_dump(mode="json")) != receipt.body_digest:
            yield f"{receipt.id}: its body does not have the digest that it names"
        if body.announcement_digest != round_.announcement_digest:
            yield f"{receipt.id}: it names another announcement"
        if body.adapter_digest != outcome.adapter_digest:
            yield f"{receipt.id}: it names another adapter"
        if line is None or (body.size, body.payment, body.amount_micro_units) != (
            line.size,
            line.payment,
            line.amount_micro_units,
        ):
            yield f"{receipt.id}: its size, payment and amount are not the outcome's"


def _gain_complaints(outcome: Outcome, least_standard_errors: float | None) -> Iterator[str]:
    if least_standard_errors is None:
        return
    if outcome.fresh is None:
        yield "the outcome has no valuation on fresh samples"
    elif outcome.fresh.gain < least_standard_errors * outcome.fresh.gain_standard_error:
        yield (
            f"the gain on fresh samples, {outcome.fresh.gain:.3f} ± "
            f"{outcome.fresh.gain_standard_error:.3f}, is below {least_standard_errors:g} "
            "standard errors"
        )


def _close(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
