"""What is needed to see the service run: a job's trace, a stage's tokens, and indexes to count by.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ERRORS = sa.text("level = 'error'")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String(255), nullable=True))
    op.add_column("job_stages", sa.Column("tokens", sa.BigInteger(), nullable=True))
    op.drop_index("ix_rounds_state", "rounds")
    op.create_index("ix_rounds_states", "rounds", ["state", "opened_at", "closes_at"])
    op.create_index("ix_rounds_settled_at", "rounds", ["settled_at"])
    durations = ["stage", "finished_at", "started_at", "tokens"]
    op.create_index("ix_job_stages_durations", "job_stages", durations)
    op.create_index(
        "ix_job_events_errors",
        "job_events",
        ["type"],
        sqlite_where=_ERRORS,
        postgresql_where=_ERRORS,
    )


def downgrade() -> None:
    op.drop_index("ix_job_events_errors", "job_events")
    op.drop_index("ix_job_stages_durations", "job_stages")
    op.drop_index("ix_rounds_settled_at", "rounds")
    op.drop_index("ix_rounds_states", "rounds")
    op.create_index("ix_rounds_state", "rounds", ["state"])
    op.drop_column("job_stages", "tokens")
    op.drop_column("jobs", "traceparent")
