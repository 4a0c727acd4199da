"""The chain of ledger entries: each hash covers the one before, so that none can change alone.

    hash = SHA-256(canonical JSON of the entry, its postings, its sequence and the hash before)

An entry's head {type, sequence, hash} is signed: whoever holds a head holds the ledger up to there.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.ids import new_id
from api_schemas.ledger import LedgerHead
from service.database import database_now, lock_until_commit
from service.signing import sign
from service.tables import InvoiceRow, LedgerEntryRow, PostingRow
from service.vault import Vault
from workers.artifacts import canonical_json, sha256_of

BEFORE_THE_FIRST = "sha256:" + "0" * 64
_BOOKS_LOCK = 0x7474_626F_6F6B  # "ttbook": any constant that no other lock of ours uses


def lock_books(session: Session) -> None:
    """Nobody else numbers or posts until the transaction ends.

    The order of locks is: round, job, invoice, books, signing keys.
    """
    lock_until_commit(session, _BOOKS_LOCK)


def append_entry(
    session: Session,
    vault: Vault,
    kind: str,
    entry_key: str,
    invoice: InvoiceRow,
    amounts: Mapping[str, int],
    now: datetime | None = None,
) -> LedgerHead:
    """Post `amounts` by account, in the invoice's currency, and sign the chain up to here.

    Accounts with an amount of 0 get no posting. Raises ValueError unless the amounts sum to 0 and
    some are not 0. A second entry of the same key is refused by the database.
    """
    posted = {account: amount for account, amount in amounts.items() if amount}
    if not posted or sum(posted.values()) != 0:
        raise ValueError(f"entry {entry_key} does not balance: {dict(amounts)}")
    lock_books(session)
    session.flush()
    before = last_head(session)
    entry = LedgerEntryRow(
        sequence=before.sequence + 1 if before else 1,
        entry_key=entry_key,
        kind=kind,
        invoice_id=invoice.id,
        created_at=now or database_now(session),
        previous_hash=before.hash if before else BEFORE_THE_FIRST,
    )
    postings = [_posting(entry, account, posted[account], invoice) for account in sorted(posted)]
    entry.hash = hash_of(entry, postings)
    signature = sign(session, vault, head_value(entry))
    entry.signing_key_id, entry.signature = signature.key_id, signature.signature
    session.add_all([entry, *postings])
    session.flush()
    return LedgerHead(sequence=entry.sequence, hash=entry.hash)


def last_head(session: Session) -> LedgerHead | None:
    """The last entry's; None while nothing was ever posted."""
    last = session.execute(
        select(LedgerEntryRow.sequence, LedgerEntryRow.hash)
        .order_by(LedgerEntryRow.sequence.desc())
        .limit(1)
    ).first()
    return LedgerHead(sequence=last.sequence, hash=last.hash) if last else None


def hash_of(entry: LedgerEntryRow, postings: Iterable[PostingRow]) -> str:
    """Raises ValueError for an amount that JSON can't carry exactly; none was ever posted."""
    return sha256_of(canonical_json(_entry_value(entry, postings)))


def head_value(entry: LedgerEntryRow) -> dict[str, Any]:
    """What an entry's signature signs."""
    return {"type": "truthtune.ledger_head", "sequence": entry.sequence, "hash": entry.hash}


def _entry_value(entry: LedgerEntryRow, postings: Iterable[PostingRow]) -> dict[str, Any]:
    return {
        "domain": "truthtune.ledger_entry",
        "sequence": entry.sequence,
        "entry_key": entry.entry_key,
        "kind": entry.kind,
        "invoice_id": entry.invoice_id,
        "created_at": to_microseconds(entry.created_at),
        "previous_hash": entry.previous_hash,
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


def to_microseconds(moment: datetime) -> str:
    """RFC 3339 in UTC, the same whichever database gave the moment."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _posting(entry: LedgerEntryRow, account: str, amount: int, invoice: InvoiceRow) -> PostingRow:
    return PostingRow(
        id=new_id("pst"),
        entry_key=entry.entry_key,
        account=account,
        amount_micro_units=amount,
        currency=invoice.currency,
        invoice_id=invoice.id,
        created_at=entry.created_at,
    )
