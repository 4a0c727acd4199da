"""Ed25519 signing keys: what the service says in receipts and in the ledger, it can't deny later.

A key's private part is sealed in the vault. The newest that is not retired signs; those before are
kept, so that what they signed can be verified.
"""

import base64
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.ids import new_id
from api_schemas.ledger import Signature
from api_schemas.signing import SigningKey
from service.database import database_now, lock_until_commit
from service.pages import PageQuery, fetch_page
from service.tables import SigningKeyRow
from service.vault import Vault
from workers.artifacts import canonical_json

_MAKING_LOCK = 0x7474_7369_676E  # "ttsign": any constant that no other lock of ours uses
_CONTEXT = "signing_key"


def sign(session: Session, vault: Vault, value: Any) -> Signature:
    """Of a value's canonical JSON, with the current key, which is made now if there is none.

    Raises DamagedSeal if the key can't be opened. Take every other lock before the first signature
    of a transaction: the one of making keys is the last in order.
    """
    row = _current(session) or _make_first(session, vault)
    private = Ed25519PrivateKey.from_private_bytes(
        vault.open(row.sealed_private_key, _CONTEXT, row.id)
    )
    return Signature(key_id=row.id, signature=_base64(private.sign(canonical_json(value))))


def is_signed(value: Any, signature: str, public_key: str) -> bool:
    """Whether the signature, in base 64, is of the value's canonical JSON under the key, too."""
    try:
        key = Ed25519PublicKey.from_public_bytes(_bytes(public_key))
        key.verify(_bytes(signature), canonical_json(value))
    except (InvalidSignature, ValueError):  # ValueError: not base 64, not a key, not JSON
        return False
    return True


def rotate(session: Session, vault: Vault) -> SigningKey:
    """Retire the current key and make the one that signs from now on."""
    lock_until_commit(session, _MAKING_LOCK)
    now = database_now(session)
    session.execute(
        update(SigningKeyRow).where(SigningKeyRow.retired_at.is_(None)).values(retired_at=now)
    )
    return _signing_key(_add(session, vault, now))


def list_signing_keys(session: Session, page: PageQuery) -> ListPage[SigningKey]:
    """The public parts of all keys, for everyone."""
    return fetch_page(
        session, select(SigningKeyRow), page, _signing_key, id_column=SigningKeyRow.id
    )


def public_keys(session: Session) -> dict[str, str]:
    """All public keys by the id of their key."""
    return dict(session.execute(select(SigningKeyRow.id, SigningKeyRow.public_key)).all())


def _current(session: Session) -> SigningKeyRow | None:
    return session.scalar(
        select(SigningKeyRow)
        .where(SigningKeyRow.retired_at.is_(None))
        .order_by(SigningKeyRow.created_at.desc(), SigningKeyRow.id.desc())
        .limit(1)
    )


def _make_first(session: Session, vault: Vault) -> SigningKeyRow:
    """Whoever waited for the lock finds the key of the one that had it."""
    lock_until_commit(session, _MAKING_LOCK)
    return _current(session) or _add(session, vault, database_now(session))


def _add(session: Session, vault: Vault, now: datetime) -> SigningKeyRow:
    private, key_id = Ed25519PrivateKey.generate(), new_id("sgk")
    row = SigningKeyRow(
        id=key_id,
        public_key=_base64(private.public_key().public_bytes_raw()),
        sealed_private_key=vault.seal(private.private_bytes_raw(), _CONTEXT, key_id),
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """Raises ValueError but for the one text of the bytes: base 64 has idle bits at its end, by
    which a stored signature could be changed unseen."""
    data = base64.b64decode(text, validate=True)
    if _base64(data) != text:
        raise ValueError(f"{text!r} is not base 64 as it is written here")
    return data


def _signing_key(row: SigningKeyRow) -> SigningKey:
    return SigningKey(
        id=row.id,
        public_key=row.public_key,
        created_at=row.created_at,
        retired_at=row.retired_at,
    )
