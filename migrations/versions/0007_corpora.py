"""Corpora, base models made here, and evaluations.

Revision ID: 0007
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TABLES = ("corpora", "base_models", "evaluations")
_OF_THESE = "kind IN ('corpus', 'base_model', 'evaluation')"
_JOBS = f"IN (SELECT id FROM jobs WHERE {_OF_THESE})"


def upgrade() -> None:
    for name in _TABLES:
        op.create_table(
            name,
            _text("id"),
            _text("name"),
            _text("job_id"),
            sa.Column("settings", sa.JSON(), nullable=False),
            sa.Column("result", sa.JSON(), nullable=True),
            _created_at(),
            sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=f"fk_{name}_job_id"),
            sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
            sa.UniqueConstraint("job_id", name=f"uq_{name}_job_id"),
        )


def downgrade() -> None:
    """All three go, and their jobs with them: the version before can't read these."""
    for name in reversed(_TABLES):
        op.drop_table(name)
    op.execute(f"DELETE FROM job_stages WHERE job_id {_JOBS}")
    _guard_events(False)
    op.execute(f"DELETE FROM job_events WHERE job_id {_JOBS}")
    _guard_events(True)
    op.execute(f"DELETE FROM jobs WHERE {_OF_THESE}")


def _guard_events(on: bool) -> None:
    """The trigger that refuses to delete events, whose name and text are those of 0001."""
    if op.get_bind().dialect.name != "sqlite":
        act = "ENABLE" if on else "DISABLE"
        op.execute(f"ALTER TABLE job_events {act} TRIGGER job_events_refuse_change")
    elif on:
        op.execute(
            "CREATE TRIGGER job_events_refuse_delete BEFORE DELETE ON job_events "
            "BEGIN SELECT RAISE(ABORT, 'job_events is append-only'); END"
        )
    else:
        op.execute("DROP TRIGGER job_events_refuse_delete")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(255), nullable=False)


def _created_at() -> sa.Column[Any]:
    return sa.Column("created_at", sa.DateTime(timezone=True), nullable=False)
