"""Whether the ledger is what was written: every row of it walked, every fault named.

The service's own lists can be changed by whoever changes the ledger. Public keys and heads that
were noted elsewhere can't: given those, a ledger that was written anew is caught too.
"""

import base64
import binascii
from collections.abc import Collection, Iterator
from itertools import chain

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api_schemas.errors import InvalidInput
from api_schemas.ledger import LedgerHead
from service.ledger.chain import last_head
from service.ledger.faults.entries import entry_faults, head_faults
from service.ledger.faults.invoices import invoice_faults
from service.ledger.faults.settlements import number_faults, settlement_faults
from service.ledger.faults.signatures import KnownKeys
from service.signing import public_keys
from service.tables import InvoiceRow, LedgerEntryRow

_PUBLIC_KEY_BYTES = 32


def faults(
    session: Session, pinned_keys: Collection[str] = (), heads_seen: Collection[LedgerHead] = ()
) -> Iterator[str]:
    """One line for each fault, with the row it is in; rows are read a batch at a time.

    `pinned_keys` are public keys in base 64 that alone may have signed, all of the database's if
    there are none; `heads_seen` must still be in the chain.
    """
    _freeze(session)
    keys = KnownKeys(public_keys(session), frozenset(pinned_keys))
    return chain(
        entry_faults(session, keys),
        head_faults(session, heads_seen),
        number_faults(session),
        settlement_faults(session),
        invoice_faults(session, keys),
    )


def summary(session: Session) -> str:
    """How much there is, and the head to note: `--head` finds it again."""
    entries = session.scalar(select(func.count()).select_from(LedgerEntryRow))
    invoices = session.scalar(select(func.count()).select_from(InvoiceRow))
    head = last_head(session)
    text = f"{entries} entries and {invoices} invoices"
    return f"{text}; head {head.sequence}:{head.hash}" if head else text


def parse_head(text: str) -> LedgerHead:
    """`SEQUENCE:HASH`, as `summary` has it. Raises InvalidInput."""
    sequence, _, digest = text.partition(":")
    try:
        return LedgerHead.model_validate({"sequence": sequence, "hash": digest})
    except ValidationError:
        raise InvalidInput(
            f"head {text!r} is not SEQUENCE:HASH, a whole number from 1 and sha256:…", param="head"
        ) from None


def parse_public_key(text: str) -> str:
    """Raises InvalidInput unless it is the base 64 of 32 bytes."""
    try:
        size = len(base64.b64decode(text, validate=True))
    except binascii.Error:
        size = None
    if size != _PUBLIC_KEY_BYTES:
        raise InvalidInput(
            f"public key {text!r} is not {_PUBLIC_KEY_BYTES} bytes in base 64", param="public_key"
        )
    return text


def _freeze(session: Session) -> None:
    """One snapshot for all queries: else what is posted meanwhile would look like a fault.

    SQLite's read transactions have one anyway. A transaction that has begun stays as it is.
    """
    if session.get_bind().dialect.name == "postgresql" and not session.in_transaction():
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
