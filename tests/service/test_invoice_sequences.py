"""Whatever is done to an invoice, in any order: its status, its balances and the chain agree."""

from contextlib import suppress

from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ledger_scenes import credit, faults, pay, settle_round
from scenes import add_groups
from sqlalchemy import select
from sqlalchemy.orm import Session
from support import VAULT

from api_schemas.errors import Conflict, InvalidInput
from service.database import Database
from service.ledger import lifecycle, opening
from service.ledger.balances import balances
from service.tables import InvoiceRow

WAYS = {
    "draft": {"draft", "open", "paid", "void"},
    "open": {"open", "paid", "void", "uncollectible"},
    "uncollectible": {"uncollectible", "paid"},
    "paid": {"paid"},
    "void": {"void"},
}
PARTS = st.sampled_from([-1.0, -0.25, 0.25, 0.5, 0.75, 1.0])
"""Of what is due, or of the whole amount."""
DEEDS = st.one_of(
    st.sampled_from([("void", 0.0), ("write off", 0.0)]),
    st.tuples(st.sampled_from(["pay", "pay the whole", "credit"]), PARTS),
)


@given(payment=st.sampled_from([1.0, -0.75, 0.0]), deeds=st.lists(DEEDS, max_size=8))
@example(1.0, [("pay", 0.5), ("write off", 0.0), ("credit", 0.75), ("pay", 1.0)])
@example(-0.75, [("credit", 0.5), ("pay", 1.0), ("credit", 0.5), ("pay", 1.0)])
@hypothesis_settings(
    max_examples=12,
    deadline=None,
    # One database for all examples: each settles a round of its own into the same chain.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_sequence_of_deeds_leaves_books_that_agree(
    database: Database, payment: float, deeds: list[tuple[str, float]]
) -> None:
    with database.write() as session:
        groups = add_groups(session, 1)
    settle_round(database, groups, {groups[0]: payment}, invoicing="manual")
    before = "draft"
    for deed, part in [("open", 0.0), *deeds]:
        with suppress(Conflict, InvalidInput), database.write() as session:
            _do(session, _invoice(session, groups[0]), deed, part)
        with database.read() as session:
            row = _invoice(session, groups[0])
            assert row.status in WAYS[before]
            before = row.status
    assert faults(database) == []


def _do(session: Session, row: InvoiceRow, deed: str, part: float) -> None:
    due = balances(session, [row])[row.id].outstanding
    if deed == "open":
        opening.open_invoice(session, VAULT, row)
    elif deed == "void":
        lifecycle.void(session, VAULT, row)
    elif deed == "write off":
        lifecycle.write_off(session, VAULT, row)
    elif deed == "credit":
        credit(session, row, int(part * row.amount_micro_units))
    else:
        pay(session, row, int(part * (row.amount_micro_units if "whole" in deed else due)))


def _invoice(session: Session, group_id: str) -> InvoiceRow:
    return session.scalars(select(InvoiceRow).where(InvoiceRow.group_id == group_id)).one()
