"""Rows of many settled and unsettled rounds, written past the API."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from api_schemas.ids import new_id
from api_schemas.rounds import Announcement
from service.database import Database
from service.tables import (
    AuditRow,
    GroupRow,
    InvoiceRow,
    JobRow,
    LedgerEntryRow,
    ModelRow,
    PostingRow,
    RoundRow,
)

ROUNDS, GROUPS, GROUPS_A_ROUND = 10_000, 100, 3
DIGEST = "sha256:" + "0" * 64
BATCH = 1000
ANNOUNCED = Announcement.model_validate(
    {
        "name": "Tone of the help desk",
        "base_model": "smollm2-135m-instruct",
        "prompts_file_id": "file_" + "0" * 26,
        "regularizer": {"coefficient": 1.0},
        "max_group_size": 100,
        "price_per_unit_micro_units": 1_000_000,
        "base_model_revision": DIGEST,
        "prompts_sha256": DIGEST,
    }
).model_dump(mode="json")

Rows = dict[type, list[dict[str, Any]]]


def rows_of(number: int, groups: list[str], start: datetime) -> Rows:
    """A round and all that it leaves: every hundredth failed, the others were settled."""
    at = start + timedelta(minutes=number)
    ids = {name: new_id(name) for name in ("rnd", "job", "mdl")}
    settled = number % 100 != 0
    rounds = {
        "id": ids["rnd"],
        "state": "settled" if settled else "failed",
        "announcement": ANNOUNCED,
        "announcement_digest": DIGEST,
        "created_at": at,
        "opened_at": at,
        "closed_at": at,
        "settled_at": at if settled else None,
        "failure": None if settled else {"code": "no_reports", "message": "no group reported"},
    }
    job = {
        "id": ids["job"],
        "kind": "round",
        "round_id": ids["rnd"],
        "status": "succeeded" if settled else "failed",
        "input": {},
        "created_at": at,
    }
    log = {
        "id": new_id("log"),
        "actor": "operator",
        "action": "round.opened",
        "subject": ids["rnd"],
        "created_at": at,
    }
    made: Rows = {RoundRow: [rounds], JobRow: [job], AuditRow: [log]}
    if settled:
        made |= _settlement(number, ids, groups, at)
    return made


def _settlement(number: int, ids: dict[str, str], groups: list[str], at: datetime) -> Rows:
    model = {
        "id": ids["mdl"],
        "round_id": ids["rnd"],
        "base_model": "smollm2-135m-instruct",
        "base_model_revision": DIGEST,
        "adapter_digest": DIGEST,
        "files": [{"name": "adapter_model.safetensors", "bytes": 3000, "sha256": DIGEST}],
        "created_at": at,
    }
    made: Rows = {ModelRow: [model], InvoiceRow: [], LedgerEntryRow: [], PostingRow: []}
    for place, group in enumerate(groups):
        sequence = number * GROUPS_A_ROUND + place + 1
        invoice = {
            "id": new_id("inv"),
            "number": sequence,
            "round_id": ids["rnd"],
            "group_id": group,
            "status": "open",
            "amount_micro_units": 500_000,
            "currency": "EUR",
            "created_at": at,
            "opened_at": at,
        }
        entry = {
            "sequence": sequence,
            "entry_key": f"invoice:{invoice['id']}",
            "kind": "invoice.opened",
            "invoice_id": invoice["id"],
            "created_at": at,
            "previous_hash": DIGEST,
            "hash": DIGEST,
        }
        made[InvoiceRow].append(invoice)
        made[LedgerEntryRow].append(entry)
        made[PostingRow] += [
            {
                "id": new_id("pst"),
                "entry_key": entry["entry_key"],
                "account": account,
                "amount_micro_units": amount,
                "currency": "EUR",
                "invoice_id": invoice["id"],
                "created_at": at,
            }
            for account, amount in (
                (f"receivable:{group}", 500_000),
                ("operator:revenue", -500_000),
            )
        ]
    return made


def fill(database: Database) -> None:
    rng = random.Random(0)
    start = datetime(2030, 1, 1, tzinfo=UTC)
    groups = [new_id("grp") for _ in range(GROUPS)]
    with database.write() as session:
        named = [{"id": id_, "name": f"group {id_}", "created_at": start} for id_ in groups]
        session.execute(insert(GroupRow), named)
    for first in range(0, ROUNDS, BATCH):
        gathered: Rows = {}
        for number in range(first, first + BATCH):
            chosen = rng.sample(groups, GROUPS_A_ROUND)
            for table, rows in rows_of(number, chosen, start).items():
                gathered.setdefault(table, []).extend(rows)
        with database.write() as session:
            for table, rows in gathered.items():
                session.execute(insert(table), rows)
