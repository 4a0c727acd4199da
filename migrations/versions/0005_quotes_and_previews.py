"""Quotes for rounds to come, and previews of reports.

Revision ID: 0005
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_OF_THESE = "IN (SELECT id FROM jobs WHERE kind IN ('quote', 'preview'))"


def upgrade() -> None:
    op.create_table(
        "quotes",
        _text("id"),
        _text("round_id"),
        _text("job_id"),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        _created_at(),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_quotes_job_id"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name="fk_quotes_round_id"),
        sa.PrimaryKeyConstraint("id", name="pk_quotes"),
        sa.UniqueConstraint("job_id", name="uq_quotes_job_id"),
    )
    op.create_index("ix_quotes_round_id", "quotes", ["round_id"])
    op.create_table(
        "report_previews",
        _text("id"),
        _text("round_id"),
        _text("group_id"),
        _text("job_id"),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_result", sa.LargeBinary(), nullable=True),
        _created_at(),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_report_previews_group_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_report_previews_job_id"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name="fk_report_previews_round_id"),
        sa.PrimaryKeyConstraint("id", name="pk_report_previews"),
        sa.UniqueConstraint("job_id", name="uq_report_previews_job_id"),
    )
    op.create_index("ix_report_previews_group_id", "report_previews", ["group_id"])
    op.drop_index("ix_postings_account", "postings")
    balances = ["account", "currency", "amount_micro_units"]
    op.create_index("ix_postings_balances", "postings", balances)


def downgrade() -> None:
    """Quotes and previews go, and their jobs with them: the version before can't read these."""
    op.drop_index("ix_postings_balances", "postings")
    op.create_index("ix_postings_account", "postings", ["account"])
    op.drop_table("report_previews")
    op.drop_table("quotes")
    op.execute(f"DELETE FROM job_stages WHERE job_id {_OF_THESE}")
    _guard_events(False)
    op.execute(f"DELETE FROM job_events WHERE job_id {_OF_THESE}")
    _guard_events(True)
    op.execute("DELETE FROM jobs WHERE kind IN ('quote', 'preview')")


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
