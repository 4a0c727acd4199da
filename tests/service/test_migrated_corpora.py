"""The migration that brings corpora, base models and evaluations: all else stays, up and down."""

import pytest
from migration_scenes import NOW, event_row, job_row
from scenes import queue_job
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DBAPIError
from support import VAULT

import migrations
from api_schemas.ids import new_id
from service.database import Database
from service.tables import CorpusRow, EvaluationRow, FineTunedBaseModelRow, JobRow, JobStageRow

TABLES = {
    "corpus": (CorpusRow, "corp"),
    "base_model": (FineTunedBaseModelRow, "bm"),
    "evaluation": (EvaluationRow, "evl"),
}


def test_a_downgrade_takes_all_three_with_their_jobs_and_leaves_all_others(
    database: Database,
) -> None:
    own = queue_job(database)
    with database.write() as session:
        jobs = [job_row(kind, owner_id="operator") for kind in TABLES]
        made_ahead = job_row("reward_model", owner_id="operator")
        session.add_all([*jobs, made_ahead])
        session.flush()
        session.add_all(event_row(job.id) for job in (*jobs, made_ahead))
        for job, (table, prefix) in zip(jobs, TABLES.values(), strict=True):
            fields = {"name": "Rain", "job_id": job.id, "settings": {}, "created_at": NOW}
            session.add(table(id=new_id(prefix), **fields))
            session.add(JobStageRow(job_id=job.id, stage="publish", started_at=NOW))
        kept = sorted([own, made_ahead.id])
    migrations.downgrade(database, "0006", VAULT)
    assert {"corpora", "base_models", "evaluations"}.isdisjoint(
        inspect(database.engine).get_table_names()
    )
    with database.read() as session:
        assert sorted(session.scalars(text("SELECT id FROM jobs"))) == kept
        assert sorted(set(session.scalars(text("SELECT job_id FROM job_events")))) == kept
        assert session.scalars(text("SELECT job_id FROM job_stages")).all() == []
    with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
        session.execute(text("DELETE FROM job_events"))
    migrations.upgrade(database, vault=VAULT)
    migrations.require_current_schema(database)
    with database.read() as session:
        assert sorted(session.scalars(select(JobRow.id))) == kept
