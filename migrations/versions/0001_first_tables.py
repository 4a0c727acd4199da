"""All tables of the first version.

Revision ID: 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Children before their parents, so that dropping in this order breaks no foreign key.
_TABLES = (
    "receipts",
    "postings",
    "invoices",
    "outcomes",
    "models",
    "job_events",
    "job_stages",
    "jobs",
    "reports",
    "rounds",
    "audit_log",
    "idempotency_keys",
    "files",
    "keys",
    "groups",
)
_APPEND_ONLY = ("job_events", "postings", "audit_log")


def upgrade() -> None:
    _create_tenants()
    _create_rounds()
    _create_jobs()
    _create_results()
    _create_ledger()
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def downgrade() -> None:
    for table in _TABLES:  # a table's indices and triggers go with it
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION truthtune_refuse_change")


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(255), nullable=nullable)


def _instant(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _json(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=nullable)


def _bigint(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _create_tenants() -> None:
    op.create_table(
        "groups",
        _text("id"),
        _text("name"),
        _instant("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_groups"),
        sa.UniqueConstraint("name", name="uq_groups_name"),
    )
    op.create_table(
        "keys",
        _text("id"),
        _text("scope"),
        _text("group_id", nullable=True),
        _text("name"),
        _text("secret_hmac"),
        _instant("created_at"),
        _instant("revoked_at", nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_keys_group_id"),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("secret_hmac", name="uq_keys_secret_hmac"),
    )
    op.create_table(
        "files",
        _text("id"),
        _text("owner_id"),
        _text("purpose"),
        _text("filename"),
        _bigint("bytes"),
        sa.Column("lines", sa.Integer(), nullable=True),
        _text("sha256"),
        _instant("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
    )
    op.create_index("ix_files_owner_id", "files", ["owner_id"])
    op.create_table(
        "idempotency_keys",
        _text("owner_id"),
        _text("key"),
        _text("request_digest"),
        _json("body"),
        _instant("created_at"),
        sa.PrimaryKeyConstraint("owner_id", "key", name="pk_idempotency_keys"),
    )
    op.create_table(
        "audit_log",
        _text("id"),
        _text("actor"),
        _text("action"),
        _text("subject"),
        _instant("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )


def _create_rounds() -> None:
    op.create_table(
        "rounds",
        _text("id"),
        _text("state"),
        _json("announcement"),
        _text("announcement_digest"),
        _instant("opens_at", nullable=True),
        _instant("closes_at", nullable=True),
        _json("failure", nullable=True),
        _instant("created_at"),
        _instant("opened_at", nullable=True),
        _instant("closed_at", nullable=True),
        _instant("settled_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_rounds"),
    )
    op.create_index("ix_rounds_state", "rounds", ["state"])
    op.create_table(
        "reports",
        _text("id"),
        _text("round_id"),
        _text("group_id"),
        _json("payload"),
        _text("digest"),
        _json("probe", nullable=True),
        _text("data_sha256", nullable=True),
        _instant("submitted_at"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_reports_group_id"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name="fk_reports_round_id"),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
        sa.UniqueConstraint("round_id", "group_id", name="uq_reports_round_id"),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        _text("id"),
        _text("round_id"),
        _text("status"),
        _json("input"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        _bigint("fencing_token"),
        _text("lease_owner", nullable=True),
        _instant("lease_expires_at", nullable=True),
        _json("error", nullable=True),
        _instant("created_at"),
        _instant("started_at", nullable=True),
        _instant("finished_at", nullable=True),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name="fk_jobs_round_id"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("round_id", name="uq_jobs_round_id"),
    )
    op.create_index("ix_jobs_status", "jobs", ["status"])
    op.create_table(
        "job_stages",
        _text("job_id"),
        _text("stage"),
        _instant("started_at"),
        _instant("finished_at", nullable=True),
        _text("digest", nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_stages_job_id"),
        sa.PrimaryKeyConstraint("job_id", "stage", name="pk_job_stages"),
    )
    op.create_table(
        "job_events",
        _text("id"),
        _text("job_id"),
        sa.Column("sequence", sa.Integer(), nullable=False),
        _text("type"),
        _text("level"),
        sa.Column("message", sa.String(4000), nullable=False),
        _json("data"),
        _instant("created_at"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_events_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_job_events"),
        sa.UniqueConstraint("job_id", "sequence", name="uq_job_events_job_id"),
    )


def _create_results() -> None:
    op.create_table(
        "models",
        _text("id"),
        _text("round_id"),
        sa.Column("base_model", sa.String(500), nullable=False),
        _text("base_model_revision"),
        _text("adapter_digest"),
        _json("files"),
        _instant("created_at"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name="fk_models_round_id"),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("round_id", name="uq_models_round_id"),
    )
    op.create_table(
        "outcomes",
        _text("round_id"),
        _json("payload"),
        _text("digest"),
        _instant("created_at"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name="fk_outcomes_round_id"),
        sa.PrimaryKeyConstraint("round_id", name="pk_outcomes"),
    )


def _create_ledger() -> None:
    op.create_table(
        "invoices",
        _text("id"),
        sa.Column("number", sa.Integer(), nullable=False),
        _text("round_id"),
        _text("group_id"),
        _text("status"),
        _bigint("amount_micro_units"),
        _text("currency"),
        _instant("created_at"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_invoices_group_id"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name="fk_invoices_round_id"),
        sa.PrimaryKeyConstraint("id", name="pk_invoices"),
        sa.UniqueConstraint("number", name="uq_invoices_number"),
        sa.UniqueConstraint("round_id", "group_id", name="uq_invoices_round_id"),
    )
    op.create_index("ix_invoices_group_id", "invoices", ["group_id"])
    op.create_table(
        "postings",
        _text("id"),
        _text("entry_key"),
        _text("account"),
        _bigint("amount_micro_units"),
        _text("currency"),
        _text("invoice_id"),
        _instant("created_at"),
        sa.CheckConstraint("amount_micro_units <> 0", name=op.f("ck_postings_amount_not_zero")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name="fk_postings_invoice_id"),
        sa.PrimaryKeyConstraint("id", name="pk_postings"),
        sa.UniqueConstraint("entry_key", "account", name="uq_postings_entry_key"),
    )
    op.create_index("ix_postings_account", "postings", ["account"])
    op.create_table(
        "receipts",
        _text("id"),
        _text("invoice_id"),
        _text("group_id"),
        _json("body"),
        _text("body_digest"),
        _instant("created_at"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_receipts_group_id"),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name="fk_receipts_invoice_id"),
        sa.PrimaryKeyConstraint("id", name="pk_receipts"),
        sa.UniqueConstraint("invoice_id", name="uq_receipts_invoice_id"),
    )
    op.create_index("ix_receipts_group_id", "receipts", ["group_id"])


def _guard_sqlite() -> None:
    for table in _APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION truthtune_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION truthtune_refuse_change()"
        )
