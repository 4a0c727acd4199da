"""Rotating a key: its successor works at once, the old one ends after a grace."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from api_schemas.errors import Conflict, Forbidden, InvalidInput
from api_schemas.groups import Key, KeyRotate
from service.auth import Principal
from service.database import database_now
from service.groups import repository
from service.tables import KeyRow


def rotate(
    session: Session, principal: Principal, row: KeyRow, asked: KeyRotate, secret_hmac: str
) -> Key:
    """The successor of a locked key, of the same scope and access.

    Two keys of one lineage live at most. Raises Conflict for a key that is dead, or whose
    predecessor or successor is alive; Forbidden where a group asks for a longer life than the
    operator gave its key.
    """
    now = database_now(session)
    related = repository.predecessor_and_successor(session, row)
    _require_alone(row, related, now)
    successor = repository.add_key(
        session,
        "operator" if row.group_id is None else "group",
        row.group_id,
        row.name,
        secret_hmac,
        now,
        access="read" if row.access == "read" else "full",
        expires_at=_end_of_successor(principal, asked, row, related, now),
    )
    grace_end = now + timedelta(seconds=asked.grace_seconds)
    row.expires_at = min(filter(None, (row.expires_at, grace_end)))
    row.successor_id = successor.id
    return successor


def require_future(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise InvalidInput(
            f"expires_at {expires_at.isoformat(timespec='seconds')} is past; now is "
            f"{now.isoformat(timespec='seconds')}",
            param="expires_at",
        )


def _is_live(row: KeyRow, now: datetime) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now)


def _require_alone(row: KeyRow, related: Sequence[KeyRow], now: datetime) -> None:
    if not _is_live(row, now):
        raise Conflict(
            f"key {row.id} is {'expired' if row.revoked_at is None else 'revoked'}: make a new one",
            code="key_not_live",
        )
    for other in related:
        if _is_live(other, now):
            role = "successor" if other.id == row.successor_id else "predecessor"
            raise Conflict(
                f"key {row.id} has a live {role}, {other.id}: at most two keys of one lineage "
                "live at a time; revoke one, or wait until it expires",
                code="rotation_under_way",
            )


def _end_of_successor(
    principal: Principal, asked: KeyRotate, row: KeyRow, related: Sequence[KeyRow], now: datetime
) -> datetime | None:
    """As asked for; else when the key itself was to end, which a dead successor still tells."""
    if asked.expires_at is not None:
        if not principal.is_operator:
            raise Forbidden(
                "only the operator sets when a key expires: leave expires_at out",
                param="expires_at",
            )
        require_future(asked.expires_at, now)
        return asked.expires_at
    earlier = [other for other in related if other.id == row.successor_id]
    return earlier[0].expires_at if earlier else row.expires_at
