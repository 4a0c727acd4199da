"""Many who post at once leave one chain, and nobody waits for ever; on PostgreSQL truly at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from ledger_scenes import faults
from scenes import add_groups, claim, queue_job, settle, valued
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from support import VAULT

from api_schemas.errors import Conflict
from api_schemas.ledger import PaymentCreate
from service import signing
from service.database import Database
from service.ledger import lifecycle
from service.tables import InvoiceRow, LedgerEntryRow, SigningKeyRow

PATIENCE_SECONDS = 60


def at_once(works: list[Callable[[], None]]) -> list[BaseException | None]:
    """All in threads of their own, started together; what each of them raised."""
    barrier = Barrier(len(works))

    def start(work: Callable[[], None]) -> None:
        barrier.wait(PATIENCE_SECONDS)
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        started = [pool.submit(start, work) for work in works]
        return [each.exception(timeout=PATIENCE_SECONDS) for each in started]


def in_transaction(database: Database, work: Callable[[Session], object]) -> Callable[[], None]:
    def run() -> None:
        with database.write() as session:
            work(session)

    return run


def paying(database: Database, invoice_id: str, amount: int) -> Callable[[], None]:
    def work(session: Session) -> None:
        row = session.get_one(InvoiceRow, invoice_id, with_for_update=True)
        asked = PaymentCreate(amount_micro_units=amount, reference="a transfer")
        lifecycle.record_payment(session, VAULT, row, asked)

    return in_transaction(database, work)


@pytest.fixture
def groups(database: Database) -> list[str]:
    with database.write() as session:
        return add_groups(session, 3)


@pytest.fixture
def invoice_ids(database: Database, groups: list[str]) -> list[str]:
    """Three open invoices of 500 000 each."""
    queue_job(database, groups)
    held = claim(database)
    settle(database, held, valued(held.job))
    with database.read() as session:
        return list(session.scalars(select(InvoiceRow.id)))


def test_many_that_sign_first_at_once_make_one_key(database: Database) -> None:
    def work(session: Session) -> None:
        signing.sign(session, VAULT, {"a": 1})

    assert at_once([in_transaction(database, work)] * 8) == [None] * 8
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(SigningKeyRow)) == 1


def test_of_many_last_payments_one_is_recorded(database: Database, invoice_ids: list[str]) -> None:
    raised = at_once([paying(database, invoice_ids[0], 500_000)] * 8)
    assert raised.count(None) == 1
    refusals = [error for error in raised if error is not None]
    assert {type(error) for error in refusals} == {Conflict}
    assert faults(database) == []
    with database.read() as session:
        assert session.get_one(InvoiceRow, invoice_ids[0]).status == "paid"


def test_settlements_payments_rotations_and_verifications_at_once_leave_one_chain(
    database: Database, groups: list[str], invoice_ids: list[str]
) -> None:
    for _ in range(4):
        queue_job(database, groups)
    waiting = [claim(database) for _ in range(4)]
    # Half of them sign a receipt before they post: the first of theirs amounts to 0.
    found = [
        valued(held.job, {groups[0]: 0.0 if place % 2 else 0.5})
        for place, held in enumerate(waiting)
    ]
    settling: list[Callable[[], None]] = [
        lambda place=place: settle(database, waiting[place], found[place])  # type: ignore[misc]
        for place in range(4)
    ]
    seen: list[str] = []
    rotating = in_transaction(database, lambda session: signing.rotate(session, VAULT))
    works = [paying(database, invoice_id, 1000) for invoice_id in invoice_ids * 3]
    works += [*settling, rotating, rotating, *[lambda: seen.extend(faults(database))] * 2]
    assert at_once(works) == [None] * len(works)
    assert seen == faults(database) == []
    with database.read() as session:
        invoices = 3 + 4 * 3
        posted = invoices - 2 + 9
        assert session.scalar(select(func.max(LedgerEntryRow.sequence))) == posted
        assert session.scalar(select(func.max(InvoiceRow.number))) == invoices
