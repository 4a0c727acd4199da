"""Faults of what settlements left: an invoice for every payer, and numbers without a gap."""

from collections.abc import Iterator

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from api_schemas.outcomes import Outcome
from service.outcomes.repository import takes_part
from service.tables import CreditNoteRow, InvoiceRow, OutcomeRow

_BATCH = 500


def number_faults(session: Session) -> Iterator[str]:
    """Of the numbers of invoices and of credit notes, each from 1 without a gap."""
    yield from _gaps(session, InvoiceRow.number, "invoice")
    yield from _gaps(session, CreditNoteRow.number, "credit note")


def settlement_faults(session: Session) -> Iterator[str]:
    """Of the invoices of every settled round: theirs are exactly the outcome's amounts."""
    outcomes = select(OutcomeRow).order_by(OutcomeRow.round_id).execution_options(yield_per=10)
    for row in session.scalars(outcomes):
        yield from _round_faults(session, row)


def _gaps(
    session: Session,
    column: InstrumentedAttribute[int] | InstrumentedAttribute[int | None],
    kind: str,
) -> Iterator[str]:
    numbers = select(column).where(column.is_not(None)).order_by(column)
    expected = 1
    for number in session.scalars(numbers.execution_options(yield_per=_BATCH)):
        assert number is not None
        if number != expected:
            yield f"{kind} {number}: the number before it is missing, {expected} was expected"
        expected = number + 1


def _round_faults(session: Session, row: OutcomeRow) -> Iterator[str]:
    try:
        outcome = Outcome.model_validate(row.payload)
    except ValidationError:
        yield f"outcome {row.round_id}: it can't be read"
        return
    owed = {line.group_id: line.amount_micro_units for line in takes_part(outcome.groups)}
    of_round = select(InvoiceRow).where(InvoiceRow.round_id == row.round_id)
    for invoice in session.scalars(of_round):
        amount = owed.pop(invoice.group_id, None)
        found = (invoice.amount_micro_units, invoice.currency)
        if found != (amount, outcome.currency):
            expected = f"{amount} {outcome.currency}"
            yield f"invoice {invoice.id}: it is of {found[0]} {found[1]}, the outcome's {expected}"
        if invoice.created_at != row.created_at:
            yield f"invoice {invoice.id}: it was not made when its round was settled"
    for group_id in owed:
        yield f"outcome {row.round_id}: the invoice of {group_id} is missing"
