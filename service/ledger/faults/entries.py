"""Faults of the ledger's chain: sequence, hashes, signatures, postings and sums."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.ledger import LedgerHead
from service.ledger.chain import BEFORE_THE_FIRST, hash_of, head_value, last_head
from service.ledger.faults.signatures import KnownKeys
from service.tables import LedgerEntryRow, PostingRow, ReceiptRow

_BATCH = 500


def entry_faults(session: Session, keys: KnownKeys) -> Iterator[str]:
    """Of every entry and every posting, in the order of the chain."""
    before: LedgerEntryRow | None = None
    anything_signed = False
    while batch := _entries_after(session, before.sequence if before else None):
        postings = _postings_of(session, batch)
        unsigned_invoices = _without_signed_receipt(session, batch)
        for entry in batch:
            older = not anything_signed and entry.invoice_id in unsigned_invoices
            yield from _named(entry, _link_faults(entry, before))
            yield from _named(entry, _content_faults(entry, postings[entry.entry_key]))
            yield from _named(entry, _signature_faults(entry, keys, older))
            anything_signed = anything_signed or entry.signature is not None
            before = entry
    yield from _orphan_faults(session)


def head_faults(session: Session, heads_seen: Collection[LedgerHead]) -> Iterator[str]:
    """Of heads that were noted earlier: a ledger that was cut off, or written anew, lacks them."""
    last = last_head(session)
    for head in heads_seen:
        found = session.scalar(
            select(LedgerEntryRow.hash).where(LedgerEntryRow.sequence == head.sequence)
        )
        if found is None:
            end = f"ends at {last.sequence}" if last else "is empty"
            yield f"head {head.sequence}: the ledger {end}, but had this head before"
        elif found != head.hash:
            yield f"head {head.sequence}: the ledger has {found} there, but had {head.hash} before"


def _entries_after(session: Session, sequence: int | None) -> Sequence[LedgerEntryRow]:
    entries = select(LedgerEntryRow).order_by(LedgerEntryRow.sequence).limit(_BATCH)
    if sequence is not None:
        entries = entries.where(LedgerEntryRow.sequence > sequence)
    return session.scalars(entries).all()


def _postings_of(
    session: Session, entries: Sequence[LedgerEntryRow]
) -> dict[str, list[PostingRow]]:
    keys = [entry.entry_key for entry in entries]
    found: dict[str, list[PostingRow]] = defaultdict(list)
    for row in session.scalars(select(PostingRow).where(PostingRow.entry_key.in_(keys))):
        found[row.entry_key].append(row)
    return found


def _without_signed_receipt(session: Session, entries: Sequence[LedgerEntryRow]) -> set[str]:
    """The invoices, by id, whose receipt is older than signatures."""
    ids = {entry.invoice_id for entry in entries}
    older = ReceiptRow.invoice_id.in_(ids) & ReceiptRow.signature.is_(None)
    return set(session.scalars(select(ReceiptRow.invoice_id).where(older)))


def _named(entry: LedgerEntryRow, found: Iterator[str]) -> Iterator[str]:
    return (f"ledger entry {entry.sequence} ({entry.entry_key}): {fault}" for fault in found)


def _link_faults(entry: LedgerEntryRow, before: LedgerEntryRow | None) -> Iterator[str]:
    expected = before.sequence + 1 if before else 1
    if entry.sequence != expected:
        yield f"entry {expected} is missing before it"
    elif entry.previous_hash != (before.hash if before else BEFORE_THE_FIRST):
        yield "its previous_hash is not the hash of the entry before"


def _content_faults(entry: LedgerEntryRow, postings: list[PostingRow]) -> Iterator[str]:
    if not _hash_holds(entry, postings):
        yield "its hash is not that of its content and postings"
    sums = Counter[str]()
    for posting in postings:
        sums[posting.currency] += posting.amount_micro_units
        if posting.invoice_id != entry.invoice_id:
            yield f"posting {posting.id} names the invoice {posting.invoice_id}"
        if posting.created_at != entry.created_at:
            yield f"posting {posting.id} was made at another time"
    if not postings:
        yield "it has no postings"
    for currency, total in sums.items():
        if total != 0:
            yield f"its postings sum to {total} {currency} micro-units, not to 0"


def _hash_holds(entry: LedgerEntryRow, postings: list[PostingRow]) -> bool:
    try:
        return hash_of(entry, postings) == entry.hash
    except ValueError:  # an amount that was never posted: JSON can't carry it
        return False


def _signature_faults(entry: LedgerEntryRow, keys: KnownKeys, older: bool) -> Iterator[str]:
    """`older`: the entry may be from before there were signatures."""
    if older and entry.signature is None and entry.signing_key_id is None:
        return
    fault = keys.fault(head_value(entry), entry.signing_key_id, entry.signature)
    if fault is not None:
        yield fault


def _orphan_faults(session: Session) -> Iterator[str]:
    entries = select(LedgerEntryRow.entry_key)
    orphans = select(PostingRow).where(PostingRow.entry_key.not_in(entries))
    for row in session.scalars(orphans.execution_options(yield_per=_BATCH)):
        yield f"posting {row.id}: there is no ledger entry {row.entry_key}"
