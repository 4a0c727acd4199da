"""Sealed reports, a chained and signed ledger, invoices that end, webhooks, keys that expire.

Revision ID: 0004
"""

from typing import Any

import sqlalchemy as sa
from alembic import context, op

from migrations.ledger_of_0004 import chain_all, forget_ends
from migrations.reports_of_0004 import open_all, seal_all

revision = "0004"
down_revision = "0003"

_NEW_TABLES = (
    "webhook_messages",
    "webhook_endpoints",
    "credit_notes",
    "invoice_payments",
    "ledger_entries",
    "signing_keys",
)
_NEWLY_APPEND_ONLY = ("ledger_entries", "invoice_payments", "credit_notes", "receipts")


def upgrade() -> None:
    _widen_tenants()
    _create_signing_keys()
    op.add_column("rounds", _text("commitment_root", nullable=True))
    _seal_reports()
    _widen_ledger()
    _create_settlement()
    _create_webhooks()
    for table in _NEWLY_APPEND_ONLY:
        _guard(table)


def downgrade() -> None:
    """Signatures, payments, credit notes, drafts and webhooks go; sealed reports are opened again.

    Postings and receipts stay, also those of a form that came with this version.
    """
    _unguard("receipts")
    for table in _NEW_TABLES:
        op.drop_table(table)
    _narrow_ledger()
    _open_reports()
    op.drop_column("rounds", "commitment_root")
    _narrow_tenants()


def _on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _text(name: str, nullable: bool = False, length: int = 255) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _instant(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _json(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=nullable)


def _bigint(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _bytes(name: str, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=nullable)


def _widen_tenants() -> None:
    op.add_column("keys", sa.Column("access", sa.String(255), server_default="full"))
    op.add_column("keys", _instant("expires_at", nullable=True))
    op.add_column("keys", _text("successor_id", nullable=True))
    with op.batch_alter_table("keys") as keys:
        keys.alter_column(
            "access", existing_type=sa.String(255), server_default=None, nullable=False
        )
    op.add_column("audit_log", _text("reason", nullable=True, length=1000))


def _narrow_tenants() -> None:
    op.drop_column("audit_log", "reason")
    for column in ("successor_id", "expires_at", "access"):
        op.drop_column("keys", column)


def _create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        _text("id"),
        _text("public_key"),
        _bytes("sealed_private_key"),
        _instant("created_at"),
        _instant("retired_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_signing_keys"),
        sa.UniqueConstraint("public_key", name="uq_signing_keys_public_key"),
    )


def _seal_reports() -> None:
    op.add_column("reports", _bytes("sealed", nullable=True))
    op.add_column("reports", _text("commitment", nullable=True))
    seal_all(op.get_bind(), context.config.attributes["vault"])
    with op.batch_alter_table("reports") as reports:
        reports.alter_column("sealed", existing_type=sa.LargeBinary(), nullable=False)
        reports.alter_column("commitment", existing_type=sa.String(255), nullable=False)
        reports.create_unique_constraint("uq_reports_commitment", ["commitment"])
        for column in ("payload", "digest", "probe", "pinned"):
            reports.drop_column(column)


def _open_reports() -> None:
    op.add_column("reports", _json("payload", nullable=True))
    op.add_column("reports", _text("digest", nullable=True))
    op.add_column("reports", _json("probe", nullable=True))
    op.add_column("reports", _json("pinned", nullable=True))
    open_all(op.get_bind(), context.config.attributes["vault"])
    with op.batch_alter_table("reports") as reports:
        reports.alter_column("payload", existing_type=sa.JSON(), nullable=False)
        reports.alter_column("digest", existing_type=sa.String(255), nullable=False)
        reports.alter_column("pinned", existing_type=sa.JSON(), nullable=False)
        reports.drop_constraint("uq_reports_commitment", type_="unique")
        for column in ("sealed", "commitment"):
            reports.drop_column(column)


def _widen_ledger() -> None:
    _rebuild_invoices(drafts=True)
    op.add_column("receipts", _text("signing_key_id", nullable=True))
    op.add_column("receipts", _text("signature", nullable=True))
    op.create_table(
        "ledger_entries",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        _text("entry_key"),
        _text("kind"),
        _text("invoice_id"),
        _instant("created_at"),
        _text("previous_hash"),
        _text("hash"),
        _text("signing_key_id", nullable=True),
        _text("signature", nullable=True),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.id"], name="fk_ledger_entries_invoice_id"
        ),
        sa.ForeignKeyConstraint(
            ["signing_key_id"], ["signing_keys.id"], name="fk_ledger_entries_signing_key_id"
        ),
        sa.PrimaryKeyConstraint("sequence", name="pk_ledger_entries"),
        sa.UniqueConstraint("entry_key", name="uq_ledger_entries_entry_key"),
    )
    op.create_index("ix_ledger_entries_invoice_id", "ledger_entries", ["invoice_id"])
    chain_all(op.get_bind())


def _narrow_ledger() -> None:
    for column in ("signature", "signing_key_id"):
        op.drop_column("receipts", column)
    forget_ends(op.get_bind())
    _rebuild_invoices(drafts=False)


def _rebuild_invoices(*, drafts: bool) -> None:
    """With drafts a number may be null, and there are the instants of opening and end.

    SQLite can change a column only with its table. Rows that point to an invoice miss it in
    between, so their foreign keys wait for the commit, which fails unless each is back.
    """
    columns = "id, number, round_id, group_id, status, amount_micro_units, currency, created_at"
    if _on_sqlite():
        op.execute("PRAGMA defer_foreign_keys = ON")
        op.execute("CREATE TABLE invoices_before AS SELECT * FROM invoices")
        op.drop_table("invoices")
        _create_invoices(drafts)
        op.execute(f"INSERT INTO invoices ({columns}) SELECT {columns} FROM invoices_before")
        op.drop_table("invoices_before")
    elif drafts:
        op.alter_column("invoices", "number", nullable=True)
        op.add_column("invoices", _instant("opened_at", nullable=True))
        op.add_column("invoices", _instant("ended_at", nullable=True))
    else:
        op.alter_column("invoices", "number", nullable=False)
        op.drop_column("invoices", "opened_at")
        op.drop_column("invoices", "ended_at")
    if drafts:
        op.execute("UPDATE invoices SET opened_at = created_at")
        op.execute("UPDATE invoices SET ended_at = created_at WHERE status = 'paid'")


def _create_invoices(drafts: bool) -> None:
    new = [_instant("opened_at", nullable=True), _instant("ended_at", nullable=True)]
    op.create_table(
        "invoices",
        _text("id"),
        sa.Column("number", sa.Integer(), nullable=drafts),
        _text("round_id"),
        _text("group_id"),
        _text("status"),
        _bigint("amount_micro_units"),
        _text("currency"),
        _instant("created_at"),
        *(new if drafts else []),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_invoices_group_id"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name="fk_invoices_round_id"),
        sa.PrimaryKeyConstraint("id", name="pk_invoices"),
        sa.UniqueConstraint("number", name="uq_invoices_number"),
        sa.UniqueConstraint("round_id", "group_id", name="uq_invoices_round_id"),
    )
    op.create_index("ix_invoices_group_id", "invoices", ["group_id"])


def _create_settlement() -> None:
    op.create_table(
        "invoice_payments",
        _text("id"),
        _text("invoice_id"),
        _bigint("amount_micro_units"),
        _text("reference"),
        _instant("created_at"),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.id"], name="fk_invoice_payments_invoice_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_invoice_payments"),
    )
    op.create_index("ix_invoice_payments_invoice_id", "invoice_payments", ["invoice_id"])
    op.create_table(
        "credit_notes",
        _text("id"),
        sa.Column("number", sa.Integer(), nullable=False),
        _text("invoice_id"),
        _bigint("amount_micro_units"),
        _text("reason", length=1000),
        _instant("created_at"),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name="fk_credit_notes_invoice_id"),
        sa.PrimaryKeyConstraint("id", name="pk_credit_notes"),
        sa.UniqueConstraint("number", name="uq_credit_notes_number"),
    )
    op.create_index("ix_credit_notes_invoice_id", "credit_notes", ["invoice_id"])


def _create_webhooks() -> None:
    op.create_table(
        "webhook_endpoints",
        _text("id"),
        _text("owner_id"),
        _text("url", length=2000),
        _json("event_types"),
        _text("status"),
        _text("public_key"),
        _bytes("sealed_private_key"),
        _text("previous_public_key", nullable=True),
        _bytes("previous_sealed_private_key", nullable=True),
        _instant("previous_expires_at", nullable=True),
        _bigint("fencing_token"),
        _instant("held_until", nullable=True),
        _instant("paused_until", nullable=True),
        _instant("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_endpoints"),
    )
    op.create_index("ix_webhook_endpoints_owner_id", "webhook_endpoints", ["owner_id"])
    op.create_table(
        "webhook_messages",
        _text("id"),
        _text("endpoint_id"),
        _text("type"),
        _json("payload"),
        _text("status"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _instant("next_attempt_at", nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        _text("last_error", nullable=True, length=1000),
        _instant("created_at"),
        _instant("delivered_at", nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoints.id"], name="fk_webhook_messages_endpoint_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_messages"),
    )
    op.create_index(
        "ix_webhook_messages_due", "webhook_messages", ["endpoint_id", "status", "next_attempt_at"]
    )


def _guard(table: str) -> None:
    """Refuse UPDATE and DELETE; PostgreSQL's function is that of 0001."""
    if _on_sqlite():
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    else:
        op.execute(
            f"CREATE TRIGGER {table}_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION truthtune_refuse_change()"
        )


def _unguard(table: str) -> None:
    if _on_sqlite():
        for change in ("update", "delete"):
            op.execute(f"DROP TRIGGER {table}_refuse_{change}")
    else:
        op.execute(f"DROP TRIGGER {table}_refuse_change ON {table}")
