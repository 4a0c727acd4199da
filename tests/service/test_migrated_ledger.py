"""The migration that chains the ledger: what was posted before stays, up and down."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from ledger_scenes import faults, fill_ledger, past_the_guards, settle_round
from sqlalchemy import Row, func, select, text, update
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient
from support import VAULT, add_key

import migrations
from service.database import Database
from service.dependencies import AppState
from service.tables import GroupRow, InvoiceRow, LedgerEntryRow, PostingRow, ReceiptRow
from workers.artifacts import canonical_json, sha256_of

NOW = datetime(2030, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)
ROUND, SHA = "rnd_" + "0" * 26, "sha256:" + "0" * 64
AMOUNTS = [500_000, 0, -250_000]
GROUPS = [f"grp_{number}" + "0" * 25 for number in range(len(AMOUNTS))]
INVOICES = [f"inv_{number}" + "0" * 25 for number in range(len(AMOUNTS))]


@pytest.fixture
def migrated(database: Database) -> Database:
    """A settled round of the version before, brought to this one."""
    migrations.downgrade(database, "0003")
    _insert_third_version(database)
    migrations.upgrade(database)
    return database


def test_postings_are_chained_in_their_order_and_hold(migrated: Database) -> None:
    assert faults(migrated) == []
    with migrated.read() as session:
        entries = session.scalars(select(LedgerEntryRow).order_by(LedgerEntryRow.sequence)).all()
        assert [entry.invoice_id for entry in entries] == [INVOICES[0], INVOICES[2]]
        assert {entry.kind for entry in entries} == {"invoice.opened"}
        assert {entry.created_at for entry in entries} == {NOW}
        assert {entry.signature for entry in entries} == {None}
        rows = session.scalars(select(InvoiceRow).order_by(InvoiceRow.number)).all()
        assert [row.opened_at for row in rows] == [NOW] * 3
        assert [row.ended_at for row in rows] == [None, NOW, None]


def test_a_changed_posting_of_the_version_before_is_seen(migrated: Database) -> None:
    with past_the_guards(migrated) as session:
        session.execute(update(PostingRow).values(currency="USD"))
        session.commit()
    assert any("its hash is not" in fault for fault in faults(migrated))


def test_what_comes_after_is_chained_to_it_and_signed(migrated: Database) -> None:
    settle_round(migrated, GROUPS, dict.fromkeys(GROUPS, 1.0))
    assert faults(migrated) == []
    with migrated.read() as session:
        last = session.get_one(LedgerEntryRow, 5)
        assert last.signature is not None
        numbers = session.scalars(select(InvoiceRow.number).order_by(InvoiceRow.number)).all()
    assert numbers == [1, 2, 3, 4, 5, 6]
    with past_the_guards(migrated) as session:
        session.execute(update(LedgerEntryRow).values(signature=None, signing_key_id=None))
        session.commit()
    # Entries of invoices with a signed receipt can't pass as older ones.
    assert len(faults(migrated)) == 3


def test_its_receipts_are_shown_without_a_signature(
    migrated: Database, state: AppState, operator: TestClient, client_with_key: Any
) -> None:
    shown = operator.get("/v1/receipts").json()["data"]
    assert [each["signature"] for each in shown] == [None] * 3
    for receipt in shown:
        assert receipt["body"]["version"] == 1
        assert sha256_of(canonical_json(receipt["body"])) == receipt["body_digest"]
    member = client_with_key(add_key(state, "group", GROUPS[0]))
    (invoice,) = member.get("/v1/invoices").json()["data"]
    assert (invoice["amount_due_micro_units"], invoice["status"]) == (500_000, "open")
    payment = {"amount_micro_units": 500_000, "reference": "a transfer"}
    url = f"/v1/invoices/{invoice['id']}"
    assert operator.post(f"{url}/payments", json=payment).status_code == 201
    assert member.get(url).json()["status"] == "paid"
    assert faults(migrated) == []


def test_a_downgrade_leaves_postings_and_receipts_and_can_be_undone(migrated: Database) -> None:
    before = _postings(migrated)
    migrations.downgrade(migrated, "0003")
    assert _postings(migrated) == before
    with migrated.read() as session:
        assert session.scalar(text("SELECT count(*) FROM receipts")) == 3
        assert session.scalars(text("SELECT number FROM invoices ORDER BY 1")).all() == [1, 2, 3]
    migrations.upgrade(migrated)
    assert faults(migrated) == []
    for table in (ReceiptRow, LedgerEntryRow, PostingRow):
        name = table.__tablename__
        with pytest.raises(DBAPIError, match="append-only"), migrated.write() as session:
            session.execute(text(f"DELETE FROM {name}"))


def test_a_downgrade_keeps_every_posting_of_a_ledger_in_which_everything_has_happened(
    database: Database,
) -> None:
    fill_ledger(database)
    before = _postings(database)
    migrations.downgrade(database, "0003", VAULT)
    assert _postings(database) == before
    with database.read() as session:
        statuses = session.scalars(text("SELECT DISTINCT status FROM invoices ORDER BY 1")).all()
        assert statuses == ["open", "paid"]
    migrations.upgrade(database, vault=VAULT)
    assert _postings(database) == before
    with database.read() as session:
        entries = session.scalar(select(func.count()).select_from(LedgerEntryRow))
        keys = session.scalar(select(func.count(func.distinct(PostingRow.entry_key))))
    assert entries == keys


def _postings(database: Database) -> list[Row[Any]]:
    with database.read() as session:
        return list(session.execute(text("SELECT * FROM postings ORDER BY id")).all())


def _insert_third_version(database: Database) -> None:
    at = NOW.replace(tzinfo=None).isoformat(" ") if database.is_sqlite else NOW
    with database.write() as session:
        session.add_all(GroupRow(id=id_, name=id_, created_at=NOW) for id_ in GROUPS)
        session.flush()
        connection = session.connection()
        connection.execute(text(_ROUND_OF_0003), {"id": ROUND, "at": at})
        for number, (group, invoice, amount) in enumerate(
            zip(GROUPS, INVOICES, AMOUNTS, strict=True), start=1
        ):
            row = {"id": invoice, "group": group, "amount": amount, "at": at, "round": ROUND}
            status = "open" if amount else "paid"
            connection.execute(text(_INVOICE_OF_0003), row | {"number": number, "status": status})
            body = _body(group, number, amount)
            receipt = {"body": json.dumps(body), "digest": sha256_of(canonical_json(body))}
            id_ = invoice.replace("inv", "rcpt")
            connection.execute(text(_RECEIPT_OF_0003), row | receipt | {"receipt_id": id_})
            accounts = {f"receivable:{group}": amount, "operator:revenue": -amount}
            for account, posted in accounts.items() if amount else ():
                posting = {"posting": f"pst_{number}{account[0]}", "account": account}
                key = {"entry_key": f"invoice:{ROUND}:{group}", "posted": posted}
                connection.execute(text(_POSTING_OF_0003), row | posting | key)


_ROUND_OF_0003 = (
    "INSERT INTO rounds (id, state, announcement, announcement_digest, created_at) "
    "VALUES (:id, 'settled', '{}', '', :at)"
)
_INVOICE_OF_0003 = (
    "INSERT INTO invoices (id, number, round_id, group_id, status, amount_micro_units, currency, "
    "created_at) VALUES (:id, :number, :round, :group, :status, :amount, 'EUR', :at)"
)
_RECEIPT_OF_0003 = (
    "INSERT INTO receipts (id, invoice_id, group_id, body, body_digest, created_at) "
    "VALUES (:receipt_id, :id, :group, :body, :digest, :at)"
)
_POSTING_OF_0003 = (
    "INSERT INTO postings (id, entry_key, account, amount_micro_units, currency, invoice_id, "
    "created_at) VALUES (:posting, :entry_key, :account, :posted, 'EUR', :id, :at)"
)


def _body(group_id: str, number: int, amount: int) -> dict[str, Any]:
    return {
        "version": 1,
        "round_id": ROUND,
        "group_id": group_id,
        "invoice_number": number,
        "announcement_digest": SHA,
        "report_digest": SHA,
        "counterfactuals": "retrain",
        "payment_rule": "affine_maximizer",
        "regularizer": {"type": "kl", "coefficient": 1.0},
        "value_on": "pool",
        "size": 7,
        "valuation": 0.75,
        "others_welfare_without": None,
        "others_welfare_with": None,
        "surcharge": None,
        "payment": amount / 1e6,
        "utility": 7 * 0.75 - amount / 1e6,
        "divergence": 0.5,
        "price_per_unit_micro_units": 1_000_000,
        "amount_micro_units": amount,
        "rounding": "floor",
        "currency": "EUR",
        "pool_digest": SHA,
        "adapter_digest": SHA,
    }
