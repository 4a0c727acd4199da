"""SQL of reports. A group sees its own; all of a round's are read only to run its job, and by the
operator in an audited act after the close."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from api_schemas.commitments import PathStep, merkle_paths, merkle_root
from api_schemas.errors import NotFound
from api_schemas.ids import new_id
from api_schemas.jobs import ReportInput
from api_schemas.reports import Report
from service.database import backend_of
from service.reports.sealing import SealedContent, SealedReport, unseal
from service.tables import AuditRow, ReportRow, RoundRow
from service.vault import DamagedSeal, Vault

UNSEALED = "reports.unsealed"
"""The action that the audit log has once the operator has looked."""


def _upsert(insert: Callable[..., Any]) -> Any:
    """One statement for a group's first report and for every later one, which keeps its id."""
    new = insert(ReportRow.__table__)
    changed = {name: new.excluded[name] for name in ("sealed", "commitment", "submitted_at")}
    keys = ("round_id", "group_id")
    return new.on_conflict_do_update(index_elements=keys, set_=changed).returning(ReportRow.id)


_UPSERTS = {"sqlite": _upsert(sqlite.insert), "postgresql": _upsert(postgresql.insert)}


def put_report(session: Session, round_id: str, report: SealedReport, now: datetime) -> Report:
    """Insert, or replace the group's report of the round, which the caller has locked."""
    values = {
        "id": new_id("rep"),
        "round_id": round_id,
        "group_id": report.principal.owner_id,
        "sealed": report.sealed,
        "commitment": report.commitment,
        "submitted_at": now,
    }
    id_ = session.connection().execute(_UPSERTS[backend_of(session)], values).scalar_one()
    return _report(ReportRow(**values | {"id": id_}), report.content, None)


def get_report(session: Session, vault: Vault, round_id: str, group_id: str) -> Report:
    """Raises NotFound, or DamagedSeal."""
    row = _found(session, round_id, group_id)
    return _report(row, _content(vault, row), _unsealed_at(session, round_id))


def delete_report(session: Session, round_id: str, group_id: str) -> None:
    session.delete(_found(session, round_id, group_id))


def all_reports(session: Session, vault: Vault, round_id: str) -> list[Report]:
    """All of a round, sorted by group id. Raises DamagedSeal."""
    unsealed_at = _unsealed_at(session, round_id)
    rows = _rows(session, round_id)
    return [_report(row, _content(vault, row), unsealed_at) for row in rows]


def job_inputs(session: Session, vault: Vault, round_id: str) -> list[ReportInput]:
    """All reports of a closed round as the workers get them, sorted by group id.

    Raises DamagedSeal, also if a report came, went or was exchanged since the root was published.
    """
    return [_job_input(row, _content(vault, row)) for row in _committed_rows(session, round_id)]


def commitments(session: Session, round_id: str) -> list[str]:
    """To all reports of a round, in no order that says whose is which."""
    return sorted(row.commitment for row in _rows(session, round_id))


def inclusion(session: Session, round_id: str) -> dict[str, tuple[str, list[PathStep]]]:
    """Of every group that reported in a closed round: its commitment, and the path from there to
    the round's root. Raises DamagedSeal as `job_inputs` does."""
    rows = _committed_rows(session, round_id)
    paths = merkle_paths([row.commitment for row in rows])
    return {row.group_id: (row.commitment, paths[row.commitment]) for row in rows}


def _committed_rows(session: Session, round_id: str) -> Sequence[ReportRow]:
    """Raises DamagedSeal unless the reports are those that the round's root was published for."""
    rows = _rows(session, round_id)
    root = session.scalar(select(RoundRow.commitment_root).where(RoundRow.id == round_id))
    if not rows or _root_of(rows) != root:
        raise DamagedSeal(f"the reports of round {round_id} are not those of its root")
    return rows


def _root_of(rows: Sequence[ReportRow]) -> str | None:
    """None if a commitment is none any more."""
    try:
        return merkle_root([row.commitment for row in rows])
    except ValueError:
        return None


def _rows(session: Session, round_id: str) -> Sequence[ReportRow]:
    of_round = select(ReportRow).where(ReportRow.round_id == round_id)
    return session.scalars(of_round.order_by(ReportRow.group_id)).all()


def _find(session: Session, round_id: str, group_id: str) -> ReportRow | None:
    return session.scalar(
        select(ReportRow).where(ReportRow.round_id == round_id, ReportRow.group_id == group_id)
    )


def _found(session: Session, round_id: str, group_id: str) -> ReportRow:
    row = _find(session, round_id, group_id)
    if row is None:
        raise NotFound(f"you have no report in round {round_id}")
    return row


def _unsealed_at(session: Session, round_id: str) -> datetime | None:
    looked = (AuditRow.action == UNSEALED) & (AuditRow.subject == round_id)
    return session.scalar(select(func.min(AuditRow.created_at)).where(looked))


def _content(vault: Vault, row: ReportRow) -> SealedContent:
    """Raises DamagedSeal, also for an older report of the same group in the place of its last."""
    content = unseal(vault, row.round_id, row.group_id, row.sealed)
    if content.commitment(row.round_id, row.group_id) != row.commitment:
        raise DamagedSeal(f"report {row.id} is not the one that its commitment is to")
    return content


def _job_input(row: ReportRow, content: SealedContent) -> ReportInput:
    return ReportInput(
        group_id=row.group_id,
        size=content.report.size,
        reward_model=content.report.reward_model,
        report_digest=content.digest,
        pinned=content.pinned,
    )


def _report(row: ReportRow, content: SealedContent, unsealed_at: datetime | None) -> Report:
    return Report(
        id=row.id,
        round_id=row.round_id,
        group_id=row.group_id,
        size=content.report.size,
        reward_model=content.report.reward_model,
        commitment=row.commitment,
        salt=content.salt,
        probe=content.probe,
        submitted_at=row.submitted_at,
        unsealed_at=unsealed_at,
    )
