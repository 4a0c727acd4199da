"""The migration that brings quotes and previews: what was stored before stays, up and down."""

from datetime import UTC, datetime

import pytest
from scenes import add_groups, queue_job
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from support import VAULT

import migrations
from api_schemas.ids import new_id
from service.database import Database
from service.tables import (
    JobEventRow,
    JobRow,
    JobStageRow,
    PreviewRow,
    QuoteRow,
    RoundRow,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_downgrade_takes_quotes_and_previews_with_their_jobs_and_leaves_all_others(
    database: Database,
) -> None:
    own = queue_job(database)
    with database.write() as session:
        (group_id,) = add_groups(session, 1)
        round_id = session.scalars(select(RoundRow.id)).one()
        quote, preview, made_ahead = (
            _job("quote", round_id, None),
            _job("preview", None, group_id),
            _job("reward_model", None, group_id),
        )
        session.add_all([quote, preview, made_ahead])
        session.flush()
        session.add_all(_event(job.id) for job in (quote, preview, made_ahead))
        session.add(JobStageRow(job_id=preview.id, stage="preview", started_at=NOW))
        of_round = {"round_id": round_id, "created_at": NOW}
        session.add(QuoteRow(id=new_id("quo"), job_id=quote.id, settings={}, **of_round))
        session.add(
            PreviewRow(
                id=new_id("prv"), job_id=preview.id, group_id=group_id, sealed=b"x", **of_round
            )
        )
        kept = sorted([own, made_ahead.id])
    migrations.downgrade(database, "0004", VAULT)
    with database.read() as session:
        assert sorted(session.scalars(text("SELECT id FROM jobs"))) == kept
        assert sorted(set(session.scalars(text("SELECT job_id FROM job_events")))) == kept
        assert session.scalars(text("SELECT job_id FROM job_stages")).all() == []
        assert session.scalars(text("SELECT state FROM rounds")).all() == ["closed"]
    with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
        session.execute(text("DELETE FROM job_events"))
    migrations.upgrade(database, vault=VAULT)
    migrations.require_current_schema(database)
    with database.read() as session:
        assert sorted(session.scalars(select(JobRow.id))) == kept


def _job(kind: str, round_id: str | None, owner_id: str | None) -> JobRow:
    return JobRow(
        id=new_id("job"),
        kind=kind,
        round_id=round_id,
        owner_id=owner_id,
        status="queued",
        input={},
        created_at=NOW,
    )


def _event(job_id: str) -> JobEventRow:
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
