"""What revision 0004 does to the data of the ledger: postings are chained, or left without a chain.

Frozen with it: the form of an entry that is hashed is that of this revision, whatever later ones
do. Entries made here are not signed: nobody vouched for them when they were posted.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import rfc8785
import sqlalchemy as sa
from sqlalchemy import Connection

_POSTINGS = sa.table(
    "postings",
    *(sa.column(name, sa.String) for name in ("id", "entry_key", "account", "currency")),
    sa.column("invoice_id", sa.String),
    sa.column("amount_micro_units", sa.BigInteger),
    sa.column("created_at", sa.DateTime(timezone=True)),
)
_INVOICES = sa.table(
    "invoices",
    *(sa.column(name, sa.String) for name in ("id", "status")),
    sa.column("number", sa.Integer),
)
_ENTRIES = sa.table(
    "ledger_entries",
    sa.column("sequence", sa.BigInteger),
    *(sa.column(name, sa.String) for name in ("entry_key", "kind", "invoice_id")),
    sa.column("created_at", sa.DateTime(timezone=True)),
    *(sa.column(name, sa.String) for name in ("previous_hash", "hash")),
)
_KINDS = {  # all but the first only where this revision was left and is come back to
    "invoice": "invoice.opened",
    "void": "invoice.voided",
    "uncollectible": "invoice.uncollectible",
    "payment": "payment.recorded",
    "credit_note": "credit_note.issued",
}


def chain_all(connection: Connection) -> None:
    """An entry for each key of a posting, in the order of time, then of invoices' numbers."""
    before = "sha256:" + "0" * 64
    rows = connection.execute(
        sa.select(_POSTINGS)
        .join(_INVOICES, _INVOICES.c.id == _POSTINGS.c.invoice_id)
        .order_by(_POSTINGS.c.created_at, _INVOICES.c.number, _POSTINGS.c.entry_key)
    ).all()
    entries = groupby(rows, key=lambda row: row.entry_key)
    for sequence, (entry_key, postings) in enumerate(entries, start=1):
        before = _chain(connection, sequence, entry_key, list(postings), before)


def forget_ends(connection: Connection) -> None:
    """Statuses that 0003 has: void is paid, for nothing is due; uncollectible is open, for it is
    still due. What was never opened goes."""
    connection.execute(sa.delete(_INVOICES).where(_INVOICES.c.number.is_(None)))
    for status, before in (("void", "paid"), ("uncollectible", "open")):
        ended = sa.update(_INVOICES).where(_INVOICES.c.status == status)
        connection.execute(ended.values(status=before))


def _chain(
    connection: Connection, sequence: int, entry_key: str, postings: Sequence[Any], before: str
) -> str:
    """The new entry's hash."""
    first = postings[0]
    entry = {
        "sequence": sequence,
        "entry_key": entry_key,
        "kind": _KINDS[entry_key.partition(":")[0]],
        "invoice_id": first.invoice_id,
        "previous_hash": before,
    }
    hashed = {
        **entry,
        "domain": "truthtune.ledger_entry",
        "created_at": _microseconds(first.created_at),
        "postings": [
            {
                "id": row.id,
                "account": row.account,
                "amount_micro_units": row.amount_micro_units,
                "currency": row.currency,
            }
            for row in sorted(postings, key=lambda row: row.account)
        ],
    }
    own = f"sha256:{hashlib.sha256(rfc8785.dumps(hashed)).hexdigest()}"
    connection.execute(sa.insert(_ENTRIES).values(**entry, created_at=first.created_at, hash=own))
    return own


def _microseconds(moment: datetime) -> str:
    """SQLite gives UTC without saying so."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat(timespec="microseconds").replace("+00:00", "Z")
