"""Rows that migrations find, of any kind of job."""

from datetime import UTC, datetime

from api_schemas.ids import new_id
from service.tables import JobEventRow, JobRow

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def job_row(kind: str, round_id: str | None = None, owner_id: str | None = None) -> JobRow:
    return JobRow(
        id=new_id("job"),
        kind=kind,
        round_id=round_id,
        owner_id=owner_id,
        status="queued",
        input={},
        created_at=NOW,
    )


def event_row(job_id: str) -> JobEventRow:
    return JobEventRow(
        id=new_id("evt"),
        job_id=job_id,
        sequence=1,
        type="job_queued",
        level="info",
        message="",
        data={},
        created_at=NOW,
    )
