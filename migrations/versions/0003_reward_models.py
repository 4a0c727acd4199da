"""Reward models and rerankings, jobs that are an owner's, and all that a report's names stood for.

Revision ID: 0003
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ONE_JOB = "uq_jobs_round_id"
_OF_ROUNDS = sa.text("kind = 'round'")
_OWNED = "round_or_owner"
_ROUND_OR_OWNER = "(round_id IS NULL) <> (owner_id IS NULL)"
_JOB_COLUMNS = (
    "id, kind, round_id, status, input, attempts, cancel_requested, fencing_token, lease_owner, "
    "lease_expires_at, error, created_at, started_at, finished_at"
)
_OF_OWNERS = "IN (SELECT id FROM jobs WHERE round_id IS NULL)"
_REPORTS = sa.table(
    "reports",
    sa.column("id", sa.String),
    sa.column("payload", sa.JSON),
    sa.column("pinned", sa.JSON),
    sa.column("data_sha256", sa.String),
)
_JOBS = sa.table("jobs", sa.column("id", sa.String), sa.column("input", sa.JSON))


def upgrade() -> None:
    op.add_column("files", _json("validation", nullable=True))
    _pin_reports()
    _rewrite_job_inputs(_with_pinned)
    _give_jobs_owners()
    _create_reward_models()


def downgrade() -> None:
    """Reward models and rerankings go, and their jobs with them.

    Reports whose reward model is of a kind that came with this version stay as they are.
    """
    op.drop_table("rerankings")
    op.drop_table("reward_models")
    _delete_jobs_of_owners()
    _take_owners_from_jobs()
    _rewrite_job_inputs(_with_data_sha256)
    _unpin_reports()
    op.drop_column("files", "validation")


def _pin_reports() -> None:
    op.add_column("reports", _json("pinned", nullable=True))
    connection = op.get_bind()
    for report in connection.execute(sa.select(_REPORTS)).all():
        pinned = _pinned(report.payload["reward_model"], report.data_sha256)
        changed = sa.update(_REPORTS).where(_REPORTS.c.id == report.id)
        connection.execute(changed.values(pinned=pinned))
    with op.batch_alter_table("reports") as reports:
        reports.alter_column("pinned", existing_type=sa.JSON(), nullable=False)
        reports.drop_column("data_sha256")


def _unpin_reports() -> None:
    op.add_column("reports", _text("data_sha256", nullable=True))
    connection = op.get_bind()
    for report in connection.execute(sa.select(_REPORTS)).all():
        sha256 = _data_sha256(report.payload["reward_model"], report.pinned)
        changed = sa.update(_REPORTS).where(_REPORTS.c.id == report.id)
        connection.execute(changed.values(data_sha256=sha256))
    with op.batch_alter_table("reports") as reports:
        reports.drop_column("pinned")


def _rewrite_job_inputs(rewritten: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Of every job that has reports: a round that waits is computed by the version that finds it,
    and one that is settled can still be audited."""
    connection = op.get_bind()
    for job in connection.execute(sa.select(_JOBS)).all():
        if "reports" in job.input:
            new = {**job.input, "reports": [rewritten(report) for report in job.input["reports"]]}
            connection.execute(sa.update(_JOBS).where(_JOBS.c.id == job.id).values(input=new))


def _with_pinned(report: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in report.items() if name != "data_sha256"}
    return {**kept, "pinned": _pinned(report["reward_model"], report.get("data_sha256"))}


def _with_data_sha256(report: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in report.items() if name != "pinned"}
    return {**kept, "data_sha256": _data_sha256(report["reward_model"], report["pinned"])}


def _pinned(reward_model: dict[str, Any], data_sha256: str | None) -> dict[str, Any]:
    files = {reward_model["file_id"]: data_sha256} if data_sha256 else {}
    return {"files": files, "base_models": {}, "reward_models": {}}


def _data_sha256(reward_model: dict[str, Any], pinned: dict[str, Any]) -> str | None:
    found = pinned["files"].get(reward_model.get("file_id"))
    return None if found is None else str(found)


def _give_jobs_owners() -> None:
    if _on_sqlite():
        _rebuild_jobs(with_owner=True)
        return
    op.add_column("jobs", _text("owner_id", nullable=True))
    op.alter_column("jobs", "round_id", nullable=True)
    op.create_check_constraint(_OWNED, "jobs", _ROUND_OR_OWNER)


def _take_owners_from_jobs() -> None:
    if _on_sqlite():
        _rebuild_jobs(with_owner=False)
        return
    op.drop_constraint(_OWNED, "jobs", type_="check")
    op.alter_column("jobs", "round_id", nullable=False)
    op.drop_column("jobs", "owner_id")


def _rebuild_jobs(*, with_owner: bool) -> None:
    """SQLite can let a column be null only in a new table; see 0002 for the foreign keys."""
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TABLE jobs_before AS SELECT * FROM jobs")
    op.drop_table("jobs")
    _create_jobs(with_owner)
    op.execute(f"INSERT INTO jobs ({_JOB_COLUMNS}) SELECT {_JOB_COLUMNS} FROM jobs_before")
    op.drop_table("jobs_before")
    op.create_index("ix_jobs_status", "jobs", ["status"])
    op.create_index(_ONE_JOB, "jobs", ["round_id"], unique=True, sqlite_where=_OF_ROUNDS)


def _create_jobs(with_owner: bool) -> None:
    owner = [
        _text("owner_id", nullable=True),
        sa.CheckConstraint(_ROUND_OR_OWNER, name=_OWNED),
    ]
    op.create_table(
        "jobs",
        _text("id"),
        _text("kind"),
        _text("round_id", nullable=with_owner),
        *(owner if with_owner else []),
        _text("status"),
        _json("input"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        _text("lease_owner", nullable=True),
        _instant("lease_expires_at", nullable=True),
        _json("error", nullable=True),
        _instant("created_at"),
        _instant("started_at", nullable=True),
        _instant("finished_at", nullable=True),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name="fk_jobs_round_id"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )


def _create_reward_models() -> None:
    op.create_table(
        "reward_models",
        _text("id"),
        _text("owner_id"),
        _text("name"),
        _text("job_id"),
        _json("spec"),
        _text("evaluation_file_id", nullable=True),
        _json("pinned"),
        _json("result", nullable=True),
        _text("digest", nullable=True),
        _instant("created_at"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_reward_models_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_reward_models"),
        sa.UniqueConstraint("job_id", name="uq_reward_models_job_id"),
    )
    op.create_index("ix_reward_models_owner_id", "reward_models", ["owner_id"])
    op.create_table(
        "rerankings",
        _text("id"),
        _text("reward_model_id"),
        _text("job_id"),
        _json("result", nullable=True),
        _instant("created_at"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_rerankings_job_id"),
        sa.ForeignKeyConstraint(
            ["reward_model_id"], ["reward_models.id"], name="fk_rerankings_reward_model_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_rerankings"),
        sa.UniqueConstraint("job_id", name="uq_rerankings_job_id"),
    )
    op.create_index("ix_rerankings_reward_model_id", "rerankings", ["reward_model_id"])


def _delete_jobs_of_owners() -> None:
    op.execute(f"DELETE FROM job_stages WHERE job_id {_OF_OWNERS}")
    _guard_events(False)
    op.execute(f"DELETE FROM job_events WHERE job_id {_OF_OWNERS}")
    _guard_events(True)
    op.execute("DELETE FROM jobs WHERE round_id IS NULL")


def _guard_events(on: bool) -> None:
    """The trigger that refuses to delete events, whose name and text are those of 0001."""
    if not _on_sqlite():
        act = "ENABLE" if on else "DISABLE"
        op.execute(f"ALTER TABLE job_events {act} TRIGGER job_events_refuse_change")
    elif on:
        op.execute(
            "CREATE TRIGGER job_events_refuse_delete BEFORE DELETE ON job_events "
            "BEGIN SELECT RAISE(ABORT, 'job_events is append-only'); END"
        )
    else:
        op.execute("DROP TRIGGER job_events_refuse_delete")


def _on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(255), nullable=nullable)


def _instant(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _json(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=nullable)
