"""How much one owner may have. Counted and checked, by one at a time, in the transaction that adds.

An owner is a group's id, or `operator`. What a refusal tells is the owner's own.
"""

from datetime import datetime
from typing import Any, NoReturn

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from api_schemas.errors import QuotaExceeded
from service.database import lock_until_commit
from service.settings import Settings
from service.tables import FileRow, JobRow, KeyRow


def require_file(session: Session, settings: Settings, owner_id: str, size: int) -> None:
    """Raises QuotaExceeded if the owner may not have one more file of `size` bytes."""
    lock_until_commit(session, owner_id)
    own = select(func.count(), func.coalesce(func.sum(FileRow.bytes), 0))
    count, stored = session.execute(own.where(FileRow.owner_id == owner_id)).one()
    if count + 1 > settings.quota_files:
        _refuse(f"you have {count} files", settings.quota_files, "TRUTHTUNE_QUOTA_FILES", "file")
    if stored + size > settings.quota_file_bytes:
        _refuse(
            f"your files have {stored} bytes, with this one {stored + size}",
            settings.quota_file_bytes,
            "TRUTHTUNE_QUOTA_FILE_BYTES",
            "file",
        )


def require_job(session: Session, settings: Settings, owner_id: str) -> None:
    """Raises QuotaExceeded if the owner has as many unfinished jobs as it may."""
    lock_until_commit(session, owner_id)
    unfinished = JobRow.status.in_(("queued", "running"))
    count = _count(session, JobRow.id, JobRow.owner_id == owner_id, unfinished)
    if count + 1 > settings.quota_unfinished_jobs:
        _refuse(
            f"{count} of your own jobs are not finished",
            settings.quota_unfinished_jobs,
            "TRUTHTUNE_QUOTA_UNFINISHED_JOBS",
        )


def require_key(session: Session, settings: Settings, group_id: str | None, now: datetime) -> None:
    """Raises QuotaExceeded if the group, or the operator, has as many live keys as it may."""
    lock_until_commit(session, f"keys of {group_id}")
    unexpired = or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > now)
    of_group = KeyRow.group_id.is_not_distinct_from(group_id)
    count = _count(session, KeyRow.id, of_group, KeyRow.revoked_at.is_(None), unexpired)
    if count + 1 > settings.quota_keys:
        whose = f"group {group_id}" if group_id else "the operator"
        _refuse(f"{whose} has {count} live keys", settings.quota_keys, "TRUTHTUNE_QUOTA_KEYS")


def _count(session: Session, column: Any, *conditions: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count(column)).where(*conditions)) or 0


def _refuse(used: str, allowed: int, setting: str, param: str | None = None) -> NoReturn:
    raise QuotaExceeded(f"{used}; the quota is {allowed} ({setting})", param=param)
