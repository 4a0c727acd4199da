"""SQL of reports. A group sees its own; all of a round's are read only to make its job."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.errors import NotFound
from api_schemas.ids import new_id
from api_schemas.jobs import ReportInput
from api_schemas.reports import Report
from service.reports.sealing import SealedReport
from service.tables import ReportRow


def put_report(
    session: Session, round_id: str, group_id: str, sealed: SealedReport, now: datetime
) -> Report:
    """Insert, or replace the group's report of the round, which the caller has locked."""
    row = _find(session, round_id, group_id)
    if row is None:
        row = ReportRow(id=new_id("rep"), round_id=round_id, group_id=group_id)
        session.add(row)
    row.payload = sealed.body.model_dump(mode="json")
    row.digest = sealed.digest
    row.probe = sealed.probe.model_dump(mode="json") if sealed.probe else None
    row.pinned = sealed.pinned.model_dump(mode="json")
    row.submitted_at = now
    return _report(row)


def get_report(session: Session, round_id: str, group_id: str) -> Report:
    return _report(_found(session, round_id, group_id))


def delete_report(session: Session, round_id: str, group_id: str) -> None:
    session.delete(_found(session, round_id, group_id))


def job_inputs(session: Session, round_id: str) -> list[ReportInput]:
    """All reports of a round as the workers get them, sorted by group id."""
    rows = session.scalars(
        select(ReportRow).where(ReportRow.round_id == round_id).order_by(ReportRow.group_id)
    )
    return [
        ReportInput.model_validate(
            {
                **row.payload,
                "group_id": row.group_id,
                "report_digest": row.digest,
                "pinned": row.pinned,
            }
        )
        for row in rows
    ]


def _find(session: Session, round_id: str, group_id: str) -> ReportRow | None:
    return session.scalar(
        select(ReportRow).where(ReportRow.round_id == round_id, ReportRow.group_id == group_id)
    )


def _found(session: Session, round_id: str, group_id: str) -> ReportRow:
    row = _find(session, round_id, group_id)
    if row is None:
        raise NotFound(f"you have no report in round {round_id}")
    return row


def _report(row: ReportRow) -> Report:
    return Report.model_validate(
        {
            "id": row.id,
            "round_id": row.round_id,
            "group_id": row.group_id,
            **row.payload,
            "digest": row.digest,
            "probe": row.probe,
            "submitted_at": row.submitted_at,
        }
    )
