"""The migration that brings quotes and previews: what was stored before stays, up and down."""

import pytest
from migration_scenes import NOW, event_row, job_row
from scenes import add_groups, queue_job
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from support import VAULT

import migrations
from api_schemas.ids import new_id
from service.database import Database
from service.tables import (
    JobRow,
    JobStageRow,
    PreviewRow,
    QuoteRow,
    RoundRow,
)


def test_a_downgrade_takes_quotes_and_previews_with_their_jobs_and_leaves_all_others(
    database: Database,
) -> None:
    own = queue_job(database)
    with database.write() as session:
        (group_id,) = add_groups(session, 1)
        round_id = session.scalars(select(RoundRow.id)).one()
        quote, preview, made_ahead = (
            job_row("quote", round_id),
            job_row("preview", owner_id=group_id),
            job_row("reward_model", owner_id=group_id),
        )
        session.add_all([quote, preview, made_ahead])
        session.flush()
        session.add_all(event_row(job.id) for job in (quote, preview, made_ahead))
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
