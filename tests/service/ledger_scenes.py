"""A ledger in which everything has happened once, and ways past its guards."""

from collections.abc import Iterator
from contextlib import contextmanager

from scenes import add_groups, claim, queue_job, settle, valued
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from support import VAULT

from api_schemas.ledger import CreditNoteCreate, PaymentCreate
from service import signing
from service.database import Database
from service.ledger import lifecycle, opening, verification
from service.tables import APPEND_ONLY_TABLES, InvoiceRow

PAYMENTS = [2.5, 0.0, -0.25, 1.0, 1.5, 0.5]


def fill_ledger(database: Database) -> None:
    """Two rounds of six groups each: one invoice of every status, of each sign and of 0, partial
    payments, credit notes that leave something due and owed back, drafts, and two signing keys."""
    with database.write() as session:
        groups = add_groups(session, len(PAYMENTS))
    payments = dict(zip(groups, PAYMENTS, strict=True))
    settle_round(database, groups, payments)
    with database.write() as session:
        owing, _, owed, bad, recovered, _ = invoices(session, "open", "paid")
        pay(session, owing, 2_000_000)
        credit(session, owing, 750_000)  # 250 000 are owed back
        pay(session, owing, -100_000)
        pay(session, owed, -100_000)
        pay(session, bad, 300_000)
        credit(session, bad, 100_000)
        lifecycle.write_off(session, VAULT, bad)
        lifecycle.write_off(session, VAULT, recovered)
        pay(session, recovered, 1_500_000)
        signing.rotate(session, VAULT)
    settle_round(database, groups, payments, invoicing="manual")
    with database.write() as session:
        drafts = invoices(session, "draft")
        for draft in drafts[:4]:
            opening.open_invoice(session, VAULT, draft)
        pay(session, drafts[0], 1_000_000)
        lifecycle.void(session, VAULT, drafts[0])
        lifecycle.void(session, VAULT, drafts[4])


def settle_round(
    database: Database, groups: list[str], payments: dict[str, float], **announced: str
) -> None:
    queue_job(database, groups, **announced)
    held = claim(database)
    settle(database, held, valued(held.job, payments))


def invoices(session: Session, *statuses: str) -> list[InvoiceRow]:
    rows = select(InvoiceRow).where(InvoiceRow.status.in_(statuses))
    return list(session.scalars(rows.order_by(InvoiceRow.id)))


def pay(session: Session, row: InvoiceRow, amount: int) -> None:
    asked = PaymentCreate(amount_micro_units=amount, reference="a transfer")
    lifecycle.record_payment(session, VAULT, row, asked)


def credit(session: Session, row: InvoiceRow, amount: int) -> None:
    asked = CreditNoteCreate(amount_micro_units=amount, reason="a mistake")
    lifecycle.add_credit_note(session, VAULT, row, asked)


def faults(database: Database, **options: object) -> list[str]:
    with database.read() as session:
        return list(verification.faults(session, **options))  # type: ignore[arg-type]


@contextmanager
def past_the_guards(database: Database) -> Iterator[Session]:
    """A transaction without triggers and foreign keys that is rolled back at its end."""
    with database.engine.connect() as connection, Session(connection) as session:
        if database.is_sqlite:
            session.execute(text("PRAGMA defer_foreign_keys = ON"))
            for table in APPEND_ONLY_TABLES:
                for change in ("update", "delete"):
                    session.execute(text(f"DROP TRIGGER {table}_refuse_{change}"))
        else:
            session.execute(text("SET LOCAL session_replication_role = replica"))
        yield session
        session.rollback()
