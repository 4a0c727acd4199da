"""The migration that brings reward models: what was stored before stays, up and down."""

import json
from typing import Any

import pytest
from migration_scenes import NOW, event_row, job_row
from scenes import announcement, queue_job
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from support import VAULT

import migrations
from api_schemas.ids import new_id
from api_schemas.jobs import JobInput
from service.database import Database
from service.tables import (
    GroupRow,
    JobRow,
    JobStageRow,
    RerankingRow,
    RewardModelRow,
)

ROUND, JOB = "rnd_" + "0" * 26, "job_" + "0" * 26
FILE, SHA = "file_" + "0" * 26, "sha256:" + "0" * 64
GROUPS = ["grp_" + "0" * 26, "grp_" + "1" * 26]


def test_reports_and_the_inputs_of_jobs_keep_the_digest_of_their_file(database: Database) -> None:
    migrations.downgrade(database, "0002")
    _insert_second_version(database)
    migrations.upgrade(database, "0003")
    nothing: dict[str, Any] = {"files": {}, "base_models": {}, "reward_models": {}}
    with database.read() as session:
        columns = "pinned, payload" if database.is_sqlite else "pinned::text, payload::text"
        rows = session.execute(text(f"SELECT {columns} FROM reports ORDER BY group_id")).all()
        pinned = [json.loads(row[0]) for row in rows]
        assert pinned == [nothing, nothing | {"files": {FILE: SHA}}]
        assert [json.loads(row[1])["size"] for row in rows] == [1, 2]
        stored = session.scalars(select(JobRow.input).where(JobRow.id == JOB)).one()
        job = JobInput.model_validate(stored)
        assert [report.pinned.model_dump() for report in job.reports] == pinned
    migrations.downgrade(database, "0002")
    with database.read() as session:
        digests = session.scalars(text("SELECT data_sha256 FROM reports ORDER BY group_id"))
        assert digests.all() == [None, SHA]
        stored = session.scalar(select(JobRow.input))
        assert [report["data_sha256"] for report in stored["reports"]] == [None, SHA]
        assert all("pinned" not in report for report in stored["reports"])
    migrations.upgrade(database, vault=VAULT)
    migrations.require_current_schema(database)


def test_a_job_is_either_a_rounds_or_an_owners(database: Database) -> None:
    queue_job(database)
    with database.write() as session:
        round_id = session.scalars(select(JobRow.round_id)).one()
        session.add(job_row("reward_model", owner_id="operator"))
    for owner_id, of_round in (("operator", round_id), (None, None)):
        with pytest.raises(IntegrityError), database.write() as session:
            session.add(job_row("reward_model", of_round, owner_id))


def test_a_downgrade_takes_reward_models_with_it_and_leaves_the_rounds_jobs(
    database: Database,
) -> None:
    queue_job(database)
    with database.write() as session:
        own = session.scalars(select(JobRow.id)).one()
        jobs = [job_row(kind, owner_id="operator") for kind in ("reward_model", "reranking")]
        session.add_all(jobs)
        session.flush()
        session.add_all(event_row(job.id) for job in jobs)
        session.add(JobStageRow(job_id=jobs[0].id, stage="fit_reward_model", started_at=NOW))
        of_model = {
            "id": new_id("rm"),
            "owner_id": "operator",
            "name": "",
            "spec": {},
            "pinned": {},
        }
        session.add(RewardModelRow(**of_model, job_id=jobs[0].id, created_at=NOW))
        session.flush()
        session.add(
            RerankingRow(
                id=new_id("rrk"),
                reward_model_id=of_model["id"],
                job_id=jobs[1].id,
                created_at=NOW,
            )
        )
    migrations.downgrade(database, "0002", VAULT)
    with database.read() as session:
        assert session.scalars(text("SELECT id FROM jobs")).all() == [own]
        assert session.scalars(text("SELECT job_id FROM job_events")).all() == [own]
        assert session.scalars(text("SELECT job_id FROM job_stages")).all() == []
    with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
        session.execute(text("DELETE FROM job_events"))
    migrations.upgrade(database, vault=VAULT)
    migrations.require_current_schema(database)


def _insert_second_version(database: Database) -> None:
    """A round with a lexical report and one of preferences, and its job, as 0002 has them."""
    features = [{"type": "keywords", "words": ["please"]}]
    method = {"name": "tfidf_bradley_terry", "regularization": 1.0}
    models = [
        {"type": "lexical", "features": features},
        {"type": "preference_data", "file_id": FILE, "method": method},
    ]
    digests = [None, SHA]
    reports = [
        {
            "group_id": group_id,
            "size": size,
            "reward_model": model,
            "report_digest": SHA,
            "data_sha256": digest,
        }
        for size, (group_id, model, digest) in enumerate(
            zip(GROUPS, models, digests, strict=True), start=1
        )
    ]
    announced = announcement().model_dump(mode="json")
    job = {"round_id": ROUND, "announcement": announced, "announcement_digest": SHA}
    with database.write() as session:
        session.add_all(GroupRow(id=id_, name=id_, created_at=NOW) for id_ in GROUPS)
        session.flush()
        connection = session.connection()
        at = NOW.replace(tzinfo=None) if database.is_sqlite else NOW
        connection.execute(text(_ROUND_OF_0002), {"id": ROUND, "at": at})
        for report in reports:
            payload = {"size": report["size"], "reward_model": report["reward_model"]}
            row = {"id": f"rep_{report['size']}", "payload": json.dumps(payload), "at": at}
            connection.execute(text(_REPORT_OF_0002), report | row | {"round_id": ROUND})
        stored = json.dumps(job | {"reports": reports, "audit": None})
        connection.execute(
            text(_JOB_OF_0002),
            {"id": JOB, "round_id": ROUND, "input": stored, "at": at, "cancel_requested": False},
        )


_ROUND_OF_0002 = (
    "INSERT INTO rounds (id, state, announcement, announcement_digest, created_at) "
    "VALUES (:id, 'settled', '{}', '', :at)"
)
_REPORT_OF_0002 = (
    "INSERT INTO reports (id, round_id, group_id, payload, digest, data_sha256, submitted_at) "
    "VALUES (:id, :round_id, :group_id, :payload, :report_digest, :data_sha256, :at)"
)
_JOB_OF_0002 = (
    "INSERT INTO jobs (id, kind, round_id, status, input, attempts, cancel_requested, "
    "fencing_token, created_at) "
    "VALUES (:id, 'round', :round_id, 'succeeded', :input, 1, :cancel_requested, 1, :at)"
)
