"""`truthtune ledger verify`: a ledger that nobody touched is whole, and no change goes unseen."""

import base64
import copy
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_scenes import faults as faults_of
from ledger_scenes import fill_ledger, past_the_guards
from sqlalchemy import Column, Integer, String, Table, delete, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from api_schemas.errors import InvalidInput
from api_schemas.ledger import LedgerHead
from service.database import Database
from service.ledger import verification
from service.ledger.chain import head_value, last_head
from service.signing import public_keys
from service.tables import (
    Base,
    InvoiceRow,
    LedgerEntryRow,
    PostingRow,
    ReceiptRow,
    SigningKeyRow,
)
from workers.artifacts import canonical_json

TABLES = [
    Base.metadata.tables[name]
    for name in (
        "ledger_entries",
        "postings",
        "receipts",
        "invoice_payments",
        "credit_notes",
        "invoices",
    )
]
STATUSES = ("draft", "open", "paid", "void", "uncollectible")
FLIPS = 1000


@pytest.fixture
def filled(database: Database) -> Database:
    fill_ledger(database)
    return database


def test_a_ledger_in_which_everything_has_happened_is_whole(filled: Database) -> None:
    assert faults_of(filled) == []


def test_an_empty_ledger_is_whole(database: Database) -> None:
    assert faults_of(database) == []


@pytest.mark.parametrize("every_row", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_changed_field_is_seen(filled: Database, every_row: bool) -> None:
    """Of four rows of each table; of every row in the long form."""
    changes = 0
    with past_the_guards(filled) as session:
        for table, row in _rows(session, every_row):
            for column in table.columns:
                if _is_nobodys_business(table, column, row):
                    continue
                for value in _other_values(table, column, row[column.name]):
                    assert _sees(session, table, row, {column.name: value}), (
                        f"{table.name}.{column.name}: {row[column.name]!r} → {value!r}"
                    )
                    changes += 1
        assert list(verification.faults(session)) == []  # each was taken back
    assert changes > (700 if every_row else 200)
    print(f"{changes} of {changes} changed fields in the ledger's rows were seen")


@pytest.mark.parametrize("every_row", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_deleted_row_is_seen(filled: Database, every_row: bool) -> None:
    with past_the_guards(filled) as session:
        for table, row in _rows(session, every_row):
            assert _sees(session, table, row, None), (table.name, dict(row))
        assert list(verification.faults(session)) == []


@pytest.mark.slow
def test_a_thousand_flipped_bits_are_seen(filled: Database) -> None:
    chance = random.Random(5)
    seen = 0
    with past_the_guards(filled) as session:
        rows = {table: session.execute(select(table)).mappings().all() for table in TABLES}
        while seen < FLIPS:
            table = chance.choice(TABLES)
            row, column = chance.choice(rows[table]), chance.choice(list(table.columns))
            value = row[column.name]
            if value is None or _is_nobodys_business(table, column, row):
                continue
            flipped = _flip_a_bit(value, chance)
            assert _sees(session, table, row, {column.name: flipped}), (
                f"{table.name}.{column.name}: {value!r} → {flipped!r}"
            )
            seen += 1
    print(f"{seen} of {FLIPS} flipped bits in the ledger's rows were seen")


def test_a_public_key_that_was_exchanged_is_seen(filled: Database) -> None:
    with past_the_guards(filled) as session:
        for row in session.scalars(select(SigningKeyRow)).all():
            with session.begin_nested() as savepoint:
                other = base64.b64encode(bytes(range(32))).decode()
                session.execute(
                    update(SigningKeyRow)
                    .where(SigningKeyRow.id == row.id)
                    .values(public_key=other)
                    .execution_options(synchronize_session=False)
                )
                assert any("signature" in fault for fault in verification.faults(session))
                savepoint.rollback()


def test_only_pinned_keys_may_have_signed(filled: Database) -> None:
    with filled.read() as session:
        older, newer = sorted(public_keys(session).values())
    assert faults_of(filled, pinned_keys=[older, newer]) == []
    found = faults_of(filled, pinned_keys=[newer])
    assert found
    assert all("public key is none of those given" in fault for fault in found)


def test_a_ledger_that_was_signed_anew_is_caught_by_the_keys_noted_before(
    filled: Database,
) -> None:
    """Who has the database, and not the seal key, can make a key and sign everything with it."""
    with filled.read() as session:
        noted = list(public_keys(session).values())
    with past_the_guards(filled) as session:
        _sign_anew(session)
        session.commit()
    assert faults_of(filled) == []
    found = faults_of(filled, pinned_keys=noted)
    assert len(found) == 19 + 10  # every entry and every receipt


def test_a_head_that_was_noted_is_found_again_and_missed_once_the_ledger_is_cut_off(
    filled: Database,
) -> None:
    """What is cut off together with all that names it leaves no other trace."""
    with filled.read() as session:
        last = last_head(session)
        first = session.get_one(LedgerEntryRow, 1)
    assert last is not None
    heads = [LedgerHead(sequence=1, hash=first.hash), last]
    assert faults_of(filled, heads_seen=heads) == []
    wrong = LedgerHead(sequence=1, hash=last.hash)
    assert f"head 1: the ledger has {first.hash} there" in faults_of(filled, heads_seen=[wrong])[0]
    with past_the_guards(filled) as session:
        _cut_off(session, last)
        assert list(verification.faults(session)) == []
        (fault,) = verification.faults(session, heads_seen=[last])
    assert f"head {last.sequence}: the ledger ends at {last.sequence - 1}" in fault


def test_a_fault_names_its_row(filled: Database) -> None:
    with past_the_guards(filled) as session:
        posting = session.scalars(select(PostingRow).limit(1)).one()
        where = PostingRow.id == posting.id
        session.execute(update(PostingRow).where(where).values(amount_micro_units=7))
        found = list(verification.faults(session))
        entry_key, invoice_id = posting.entry_key, posting.invoice_id
    named = [fault for fault in found if entry_key in fault]
    assert "its hash is not that of its content and postings" in named[0]
    assert "its postings sum to" in named[1]
    assert any(invoice_id in fault for fault in found)


def test_an_amount_that_json_cannot_carry_is_a_fault_and_no_crash(filled: Database) -> None:
    with past_the_guards(filled) as session:
        session.execute(update(PostingRow).values(amount_micro_units=2**62))
        assert list(verification.faults(session))


@pytest.mark.parametrize("text", ["", "1", "0:sha256:" + "0" * 64, "1:sha256:0", "x:y"])
def test_a_head_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"head .* is not SEQUENCE:HASH"):
        verification.parse_head(text)


@pytest.mark.parametrize("text", ["", "AAAA", "not base 64!"])
def test_a_public_key_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not 32 bytes in base 64"):
        verification.parse_public_key(text)


def _rows(session: Session, every_row: bool) -> list[tuple[Table, Any]]:
    found = []
    for table in TABLES:
        rows = session.execute(select(table).order_by(*table.primary_key)).mappings().all()
        step = 1 if every_row else max(len(rows) // 4, 1)
        found += [(table, row) for row in rows[::step]]
    return found


def _sees(session: Session, table: Table, row: Any, values: dict[str, Any] | None) -> bool:
    """Whether the change, or with None the deletion, is refused by the database or found."""
    (key,) = table.primary_key.columns
    changed = update(table).values(**values) if values is not None else delete(table)
    with session.begin_nested() as savepoint:
        try:
            session.execute(changed.where(key == row[key.name]))  # type: ignore[attr-defined]
            session.expire_all()
            return next(iter(verification.faults(session)), None) is not None
        except (IntegrityError, DBAPIError):
            return True
        finally:
            savepoint.rollback()


def _is_nobodys_business(table: Table, column: Column[Any], row: Any) -> bool:
    """A draft was never told of: nothing hangs on its id, nor on when the operator gave it up."""
    never_opened = table.name == "invoices" and row["number"] is None
    when_given_up = column.name == "ended_at" and row["ended_at"] is not None
    return never_opened and (column.name == "id" or when_given_up)


def _other_values(table: Table, column: Column[Any], value: Any) -> Iterator[Any]:
    if column.nullable and value is not None:
        yield None
    if table.name == "invoices" and column.name == "status":
        yield from (status for status in STATUSES if status != value)
    elif isinstance(value, dict):
        yield from _other_bodies(value)
    elif isinstance(value, str):
        yield value[:-1] + ("0" if value[-1] != "0" else "1")
        yield value + "0"
    elif isinstance(value, datetime):
        yield value + timedelta(microseconds=1)
        yield value - timedelta(days=1)
    elif isinstance(value, int):
        yield from (value + 1, -value - 1)
    else:
        assert value is None
        yield _value_for_null(column)


def _value_for_null(column: Column[Any]) -> Any:
    if isinstance(column.type, Integer):
        return 99
    return "x" if isinstance(column.type, String) else datetime.fromisoformat("2030-01-01T00:00Z")


def _other_bodies(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in body.items():
        changed = copy.deepcopy(body)
        if isinstance(value, str):
            changed[name] = value[:-1] + ("0" if value[-1] != "0" else "1")
        elif isinstance(value, int | float):
            changed[name] = value + 1
        else:
            changed[name] = 1 if value is None else None
        yield changed
    yield {}


def _flip_a_bit(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        name = chance.choice([name for name in value if value[name] is not None])
        return value | {name: _flip_a_bit(value[name], chance)}
    if isinstance(value, list):
        if not value:
            return [0]
        place = chance.randrange(len(value))
        return [_flip_a_bit(e, chance) if i == place else e for i, e in enumerate(value)]
    if isinstance(value, str):
        place = chance.randrange(len(value))
        flipped = chr(ord(value[place]) ^ 1 << chance.randrange(5))
        return value[:place] + flipped + value[place + 1 :]
    if isinstance(value, datetime):
        return value + chance.choice((-1, 1)) * timedelta(microseconds=1 << chance.randrange(40))
    if isinstance(value, float):
        return float.fromhex(value.hex()) + 2.0 ** chance.randrange(-20, 20)
    return value ^ 1 << chance.randrange(31)


def _sign_anew(session: Session) -> None:
    private = Ed25519PrivateKey.generate()
    public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    key = session.scalars(select(SigningKeyRow).limit(1)).one()
    key.public_key = public
    for entry in session.scalars(select(LedgerEntryRow)):
        signed = private.sign(canonical_json(head_value(entry)))
        entry.signing_key_id, entry.signature = key.id, base64.b64encode(signed).decode()
    for receipt in session.scalars(select(ReceiptRow)):
        signed = private.sign(canonical_json(receipt.body))
        receipt.signing_key_id, receipt.signature = key.id, base64.b64encode(signed).decode()


def _cut_off(session: Session, last: LedgerHead) -> None:
    """Take back the last entry, which voided an invoice, and its invoice's end with it."""
    entry = session.get_one(LedgerEntryRow, last.sequence)
    assert entry.kind == "invoice.voided"
    session.execute(delete(PostingRow).where(PostingRow.entry_key == entry.entry_key))
    session.execute(
        update(InvoiceRow)
        .where(InvoiceRow.id == entry.invoice_id)
        .values(status="open", ended_at=None)
    )
    session.execute(delete(LedgerEntryRow).where(LedgerEntryRow.sequence == last.sequence))
    session.expire_all()
