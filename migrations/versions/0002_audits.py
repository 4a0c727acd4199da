"""Audits of settled rounds: their table, jobs of a second kind, and the version that settled.

Revision ID: 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ONE_JOB = "uq_jobs_round_id"
_OF_ROUNDS = sa.text("kind = 'round'")
_JOB_COLUMNS = (
    "id, round_id, status, input, attempts, cancel_requested, fencing_token, lease_owner, "
    "lease_expires_at, error, created_at, started_at, finished_at"
)
_OF_AUDITS = "IN (SELECT id FROM jobs WHERE kind = 'audit')"


def upgrade() -> None:
    if _on_sqlite():
        _rebuild_jobs(with_kind=True)
    else:
        op.add_column("jobs", sa.Column("kind", sa.String(255), server_default="round"))
        op.alter_column("jobs", "kind", server_default=None, nullable=False)
        op.drop_constraint(_ONE_JOB, "jobs")
    op.create_index(
        _ONE_JOB,
        "jobs",
        ["round_id"],
        unique=True,
        sqlite_where=_OF_ROUNDS,
        postgresql_where=_OF_ROUNDS,
    )
    op.add_column("outcomes", _text("code_version", nullable=True))
    _create_audits()


def downgrade() -> None:
    """Audits go, and their jobs with them: the version before knows one job a round."""
    op.drop_table("audits")
    _delete_audit_jobs()
    op.drop_column("outcomes", "code_version")
    op.drop_index(_ONE_JOB, "jobs")
    if _on_sqlite():
        _rebuild_jobs(with_kind=False)
    else:
        op.drop_column("jobs", "kind")
        op.create_unique_constraint(_ONE_JOB, "jobs", ["round_id"])


def _on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(255), nullable=nullable)


def _instant(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _json(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=nullable)


def _create_audits() -> None:
    op.create_table(
        "audits",
        _text("id"),
        _text("round_id"),
        _text("job_id"),
        _json("settings"),
        _json("result", nullable=True),
        _text("result_digest", nullable=True),
        _text("plot_digest", nullable=True),
        sa.Column("largest_gain", sa.Double(), nullable=True),
        sa.Column("largest_gain_without_payments", sa.Double(), nullable=True),
        sa.Column("largest_gain_retrained", sa.Double(), nullable=True),
        _instant("created_at"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_audits_job_id"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name="fk_audits_round_id"),
        sa.PrimaryKeyConstraint("id", name="pk_audits"),
        sa.UniqueConstraint("job_id", name="uq_audits_job_id"),
    )
    op.create_index("ix_audits_round_id", "audits", ["round_id"])


def _rebuild_jobs(*, with_kind: bool) -> None:
    """SQLite can drop a constraint only with its table.

    Rows that point to a job miss it in between, so their foreign keys wait for the commit, which
    fails unless every job is back under its name. Triggers and indices of other tables stay.
    """
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TABLE jobs_before AS SELECT * FROM jobs")
    op.drop_table("jobs")
    _create_jobs(with_kind)
    kind, value = (", kind", ", 'round'") if with_kind else ("", "")
    op.execute(
        f"INSERT INTO jobs ({_JOB_COLUMNS}{kind}) SELECT {_JOB_COLUMNS}{value} FROM jobs_before"
    )
    op.drop_table("jobs_before")
    op.create_index("ix_jobs_status", "jobs", ["status"])


def _create_jobs(with_kind: bool) -> None:
    new = [_text("kind")] if with_kind else []
    old = [] if with_kind else [sa.UniqueConstraint("round_id", name=_ONE_JOB)]
    op.create_table(
        "jobs",
        _text("id"),
        *new,
        _text("round_id"),
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
        *old,
    )


def _delete_audit_jobs() -> None:
    op.execute(f"DELETE FROM job_stages WHERE job_id {_OF_AUDITS}")
    _guard_events(False)
    op.execute(f"DELETE FROM job_events WHERE job_id {_OF_AUDITS}")
    _guard_events(True)
    op.execute("DELETE FROM jobs WHERE kind = 'audit'")


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
