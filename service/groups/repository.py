"""SQL of groups and keys. The operator sees all of them, a group only itself."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.errors import Conflict, NotFound
from api_schemas.groups import Access, Group, Key, Scope
from api_schemas.ids import new_id
from service.pages import PageQuery, fetch_page
from service.tables import GroupRow, KeyRow


def add_group(session: Session, name: str, now: datetime) -> Group:
    """Raises Conflict if a group has this name."""
    row = GroupRow(id=new_id("grp"), name=name, created_at=now)
    session.add(row)
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(
            f"a group is called {name!r} already; choose another name",
            code="name_taken",
            param="name",
        ) from None
    return _group(row)


def get_group(session: Session, group_id: str, visible_to: str | None) -> Group:
    """The group; `visible_to` is the asking group's id, None for the operator."""
    row = session.get(GroupRow, group_id)
    if row is None or visible_to not in (None, group_id):
        raise NotFound(f"there is no group {group_id}")
    return _group(row)


def count_groups(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(GroupRow)) or 0


def list_groups(session: Session, page: PageQuery) -> ListPage[Group]:
    return fetch_page(session, select(GroupRow), page, _group, id_column=GroupRow.id)


def add_key(
    session: Session,
    scope: Scope,
    group_id: str | None,
    name: str,
    secret_hmac: str,
    now: datetime,
    *,
    access: Access = "full",
    expires_at: datetime | None = None,
) -> Key:
    row = KeyRow(
        id=new_id("key"),
        scope=scope,
        group_id=group_id,
        name=name,
        secret_hmac=secret_hmac,
        access=access,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return _key(row)


class KnownKey(NamedTuple):
    """What a request's key decides."""

    id: str
    scope: Scope
    group_id: str | None
    access: Access
    expires_at: datetime | None


# Built once, and of no more than is needed: every request asks it.
_UNREVOKED = select(
    KeyRow.id, KeyRow.scope, KeyRow.group_id, KeyRow.access, KeyRow.expires_at
).where(KeyRow.secret_hmac == bindparam("secret_hmac"), KeyRow.revoked_at.is_(None))


def find_unrevoked_key(connection: Connection | Session, secret_hmac: str) -> KnownKey | None:
    """The key of a secret; it may have expired."""
    row = connection.execute(_UNREVOKED, {"secret_hmac": secret_hmac}).one_or_none()
    return KnownKey._make(row) if row is not None else None


def get_key(session: Session, key_id: str) -> Key:
    return _key(_key_row(session, key_id))


def revoke_key(session: Session, key_id: str, now: datetime) -> Key:
    row = _key_row(session, key_id)
    row.revoked_at = now
    return _key(row)


def lock_key(session: Session, key_id: str, visible_to: str | None) -> KeyRow:
    """The row, held until the transaction ends; `visible_to` is the asking key's own id, None for
    the operator."""
    row = session.get(KeyRow, key_id, with_for_update=True)
    if row is None or visible_to not in (None, key_id):
        raise NotFound(f"there is no key {key_id}")
    return row


def predecessor_and_successor(session: Session, row: KeyRow) -> Sequence[KeyRow]:
    """The keys that `row` was rotated from and to."""
    related = or_(KeyRow.successor_id == row.id, KeyRow.id == row.successor_id)
    return session.scalars(select(KeyRow).where(related)).all()


def list_keys(session: Session, page: PageQuery) -> ListPage[Key]:
    return fetch_page(session, select(KeyRow), page, _key, id_column=KeyRow.id)


def _key_row(session: Session, key_id: str) -> KeyRow:
    row = session.get(KeyRow, key_id)
    if row is None:
        raise NotFound(f"there is no key {key_id}")
    return row


def _group(row: GroupRow) -> Group:
    return Group(id=row.id, name=row.name, created_at=row.created_at)


def _key(row: KeyRow) -> Key:
    return Key.model_validate(
        {
            "id": row.id,
            "scope": row.scope,
            "group_id": row.group_id,
            "name": row.name,
            "access": row.access,
            "created_at": row.created_at,
            "expires_at": row.expires_at,
            "revoked_at": row.revoked_at,
            "successor_id": row.successor_id,
        }
    )
