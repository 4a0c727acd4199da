"""What names an artifact: a digest in any row, in what a row has sealed, or in another artifact."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import BinaryIO

from sqlalchemy import JSON, String, Table, Text, cast, func, select
from sqlalchemy.orm import Session

from api_schemas.errors import NotFound
from service.previews.sealing import unseal as unseal_preview
from service.reports.sealing import unseal
from service.tables import Base, JobRow, JobStageRow, PreviewRow, ReportRow
from service.vault import Vault
from workers.artifacts import ArtifactStore
from workers.own_base_models import listed_files

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DIGEST_BYTES = re.compile(_DIGEST.pattern.encode())
_DIGEST_LENGTH = 71
_ROWS_AT_ONCE, _CHUNK_BYTES = 500, 1 << 20
_LENGTH_BYTES = 8
_LIST_BYTES = 1 << 20
"""Of a list of a base model's files at most: a hundred bytes a file."""
_JSON_BEGINNINGS = b'{["'
TELL_OF_THE_PAST = frozenset({"idempotency_keys", "webhook_messages", "audit_log"})
"""Tables that say what was answered, sent or done once: nothing is read by a digest in them."""


def named_by_rows(session: Session, vault: Vault) -> set[str]:
    """Every digest in a text or JSON column of a table, whatever it is the digest of, and those
    that reports and previews have sealed. Raises DamagedSeal: what can't be seen must not be
    removed."""
    found: set[str] = set()
    for table in Base.metadata.sorted_tables:
        if table.name not in TELL_OF_THE_PAST:
            found.update(_in_table(session, table))
    for row in session.scalars(select(ReportRow).execution_options(yield_per=_ROWS_AT_ONCE)):
        content = unseal(vault, row.round_id, row.group_id, row.sealed)
        found.update(_DIGEST.findall(content.pinned.model_dump_json()))
    for preview in session.scalars(select(PreviewRow).execution_options(yield_per=_ROWS_AT_ONCE)):
        found.update(_DIGEST.findall(unseal_preview(vault, preview).pinned.model_dump_json()))
    return found


def _in_table(session: Session, table: Table) -> Iterable[str]:
    columns = [
        cast(column, Text) for column in table.columns if isinstance(column.type, JSON | String)
    ]
    rows = session.execute(select(*columns).execution_options(yield_per=_ROWS_AT_ONCE))
    for row in rows:
        for value in row:
            yield from _DIGEST.findall(value or "")


def named_by_artifacts(artifacts: ArtifactStore, roots: Iterable[str]) -> set[str]:
    """The roots, and all that they name, directly or not, whether it is there or not."""
    found = set(roots)
    waiting = list(found)
    while waiting:
        new = _named_in(artifacts, waiting.pop()) - found
        found |= new
        waiting += new
    return found


def _named_in(artifacts: ArtifactStore, digest: str) -> set[str]:
    """JSON is read whole, and safetensors' header, where stages keep JSON too, and the list of a
    base model's files; whatever else there is (archives, drawings) names nothing."""
    try:
        blob = artifacts.open(digest)
    except NotFound:  # the digest of something that is no artifact
        return set()
    with blob:
        beginning = blob.read(_LENGTH_BYTES)
        if beginning[:1] and beginning[:1] in _JSON_BEGINNINGS:
            return _scan(beginning, blob, None)
        following = blob.read(1)
        if following != b"{":
            listed = listed_files(beginning + following + blob.read(_LIST_BYTES))
            return set((listed or {}).values())
        return _scan(following, blob, int.from_bytes(beginning, "little"))


def _scan(beginning: bytes, blob: BinaryIO, limit: int | None) -> set[str]:
    """Digests in the blob's next `limit` bytes, or in all; in memory is a chunk at a time."""
    found: set[str] = set()
    held, left = beginning, limit
    while chunk := blob.read(_CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left)):
        left = None if left is None else left - len(chunk)
        held += chunk
        found.update(match.decode() for match in _DIGEST_BYTES.findall(held))
        held = held[-_DIGEST_LENGTH:]  # a digest may lie across two chunks
    return found | {match.decode() for match in _DIGEST_BYTES.findall(held)}


def oldest_work(session: Session) -> datetime | None:
    """When the longest of the stages in hand began: what it has made no row may name yet."""
    return session.scalar(
        select(func.min(JobStageRow.started_at))
        .join(JobRow, JobRow.id == JobStageRow.job_id)
        .where(JobStageRow.digest.is_(None), JobRow.status.in_(("queued", "running")))
    )
