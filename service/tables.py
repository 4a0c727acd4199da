"""Every table. The migrations in `migrations/versions` create exactly these (a test compares)."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite stores no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a datetime without a zone reached the database: {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
        bytes: LargeBinary(),
        str: String(255),
    }


class GroupRow(Base):
    __tablename__ = "groups"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]


class KeyRow(Base):
    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str]
    group_id: Mapped[str | None] = mapped_column(ForeignKey("groups.id"))
    name: Mapped[str]
    secret_hmac: Mapped[str] = mapped_column(unique=True)
    access: Mapped[str] = mapped_column(default="full")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    successor_id: Mapped[str | None]


class SigningKeyRow(Base):
    """An Ed25519 key of the service; the newest signs, those before are kept to verify."""

    __tablename__ = "signing_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    public_key: Mapped[str] = mapped_column(unique=True)
    sealed_private_key: Mapped[bytes]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class FileRow(Base):
    """`owner_id` is a group's id, or `operator`."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(index=True)
    purpose: Mapped[str]
    filename: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    lines: Mapped[int | None]
    sha256: Mapped[str]
    validation: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime]


class RoundRow(Base):
    __tablename__ = "rounds"
    # Announcements are long: what is counted of all rounds is counted from the index alone.
    __table_args__ = (Index("ix_rounds_states", "state", "opened_at", "closes_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    announcement: Mapped[dict[str, Any]]
    announcement_digest: Mapped[str]
    opens_at: Mapped[datetime | None]
    closes_at: Mapped[datetime | None]
    failure: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    commitment_root: Mapped[str | None]
    created_at: Mapped[datetime]
    opened_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None] = mapped_column(index=True)


class ReportRow(Base):
    """`sealed` holds the encrypted report with all that was found of it; the commitment is salted,
    so that it tells nothing of the report."""

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("round_id", "group_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    round_id: Mapped[str] = mapped_column(ForeignKey("rounds.id"))
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"))
    sealed: Mapped[bytes]
    commitment: Mapped[str] = mapped_column(unique=True)
    submitted_at: Mapped[datetime]


class JobRow(Base):
    """A job and its lease. A write needs the row's `fencing_token`, which each claim raises.

    A round has one job of kind `round`, and any number of kind `audit`; other kinds have an owner
    instead of a round. `input` of a round's job lacks the reports, which stay sealed in their rows.
    `traceparent` (W3C Trace Context) is of what queued it, where that was traced.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index(
            "uq_jobs_round_id",
            "round_id",
            unique=True,
            sqlite_where=text("kind = 'round'"),
            postgresql_where=text("kind = 'round'"),
        ),
        CheckConstraint("(round_id IS NULL) <> (owner_id IS NULL)", name="round_or_owner"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="round")
    round_id: Mapped[str | None] = mapped_column(ForeignKey("rounds.id"))
    owner_id: Mapped[str | None]
    status: Mapped[str] = mapped_column(index=True)
    input: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    fencing_token: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    traceparent: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobStageRow(Base):
    """A stage that was started; `digest` once it is done, and then it is never run again.

    `tokens` is how many it sampled or trained on, where it counts them.
    """

    __tablename__ = "job_stages"
    __table_args__ = (
        Index("ix_job_stages_durations", "stage", "finished_at", "started_at", "tokens"),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    digest: Mapped[str | None]
    tokens: Mapped[int | None] = mapped_column(BigInteger)


class JobEventRow(Base):
    """Append-only."""

    __tablename__ = "job_events"
    __table_args__ = (
        UniqueConstraint("job_id", "sequence"),
        # Failed attempts are a handful among the events of all trainings.
        Index(
            "ix_job_events_errors",
            "type",
            sqlite_where=text("level = 'error'"),
            postgresql_where=text("level = 'error'"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    sequence: Mapped[int]
    type: Mapped[str]
    level: Mapped[str]
    message: Mapped[str] = mapped_column(String(4000))
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class ModelRow(Base):
    __tablename__ = "models"

    id: Mapped[str] = mapped_column(primary_key=True)
    round_id: Mapped[str] = mapped_column(ForeignKey("rounds.id"), unique=True)
    base_model: Mapped[str] = mapped_column(String(500))
    base_model_revision: Mapped[str]
    adapter_digest: Mapped[str]
    files: Mapped[list[Any]]
    created_at: Mapped[datetime]


class OutcomeRow(Base):
    __tablename__ = "outcomes"

    round_id: Mapped[str] = mapped_column(ForeignKey("rounds.id"), primary_key=True)
    payload: Mapped[dict[str, Any]]
    digest: Mapped[str]
    code_version: Mapped[str | None]
    created_at: Mapped[datetime]


class IncentiveAuditRow(Base):
    """A settled round played again; the fields that may be null are filled when its job ends."""

    __tablename__ = "audits"

    id: Mapped[str] = mapped_column(primary_key=True)
    round_id: Mapped[str] = mapped_column(ForeignKey("rounds.id"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    settings: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    result_digest: Mapped[str | None]
    plot_digest: Mapped[str | None]
    largest_gain: Mapped[float | None]
    largest_gain_without_payments: Mapped[float | None]
    largest_gain_retrained: Mapped[float | None]
    created_at: Mapped[datetime]


class RewardModelRow(Base):
    """A reward model made ahead, its owner's alone; `result` and `digest` once its job succeeded.

    `result` is what its job found, a FittedResult; `digest` that of the model's bytes in it.
    """

    __tablename__ = "reward_models"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    spec: Mapped[dict[str, Any]]
    evaluation_file_id: Mapped[str | None]
    pinned: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    digest: Mapped[str | None]
    created_at: Mapped[datetime]


class RerankingRow(Base):
    """Responses put in the order of a reward model, its owner's alone; the job has the texts."""

    __tablename__ = "rerankings"

    id: Mapped[str] = mapped_column(primary_key=True)
    reward_model_id: Mapped[str] = mapped_column(ForeignKey("reward_models.id"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    result: Mapped[list[Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime]


class QuoteRow(Base):
    """What a round would take, the operator's alone; `result` once its job succeeded."""

    __tablename__ = "quotes"

    id: Mapped[str] = mapped_column(primary_key=True)
    round_id: Mapped[str] = mapped_column(ForeignKey("rounds.id"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    settings: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime]


class PreviewRow(Base):
    """A report's preview, its group's alone: what was asked is encrypted by the vault's key, what
    came of it by a key that is in there."""

    __tablename__ = "report_previews"

    id: Mapped[str] = mapped_column(primary_key=True)
    round_id: Mapped[str] = mapped_column(ForeignKey("rounds.id"))
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    sealed: Mapped[bytes]
    sealed_result: Mapped[bytes | None]
    created_at: Mapped[datetime]


class CorpusRow(Base):
    """Questions and answers made of documents, the operator's alone; `result` once its job
    succeeded. `settings` have the latest budget, which a corpus that stopped may be given."""

    __tablename__ = "corpora"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    settings: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime]


class FineTunedBaseModelRow(Base):
    """A base model made here; `result` once its job succeeded, and then rounds may announce it."""

    __tablename__ = "base_models"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    settings: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime]


class EvaluationRow(Base):
    """Models side by side on the same questions, the operator's alone; `result` once its job
    succeeded."""

    __tablename__ = "evaluations"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    settings: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime]


class InvoiceRow(Base):
    """A draft has no number; numbers are gap-free in the order in which invoices are opened."""

    __tablename__ = "invoices"
    __table_args__ = (UniqueConstraint("round_id", "group_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int | None] = mapped_column(unique=True)
    round_id: Mapped[str] = mapped_column(ForeignKey("rounds.id"))
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), index=True)
    status: Mapped[str]
    amount_micro_units: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    created_at: Mapped[datetime]
    opened_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class InvoicePaymentRow(Base):
    """Append-only: money that moved outside of the service, as the operator recorded it."""

    __tablename__ = "invoice_payments"

    id: Mapped[str] = mapped_column(primary_key=True)
    invoice_id: Mapped[str] = mapped_column(ForeignKey("invoices.id"), index=True)
    amount_micro_units: Mapped[int] = mapped_column(BigInteger)
    reference: Mapped[str]
    created_at: Mapped[datetime]


class CreditNoteRow(Base):
    """Append-only: takes back a part of an invoice, or all of it."""

    __tablename__ = "credit_notes"

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    invoice_id: Mapped[str] = mapped_column(ForeignKey("invoices.id"), index=True)
    amount_micro_units: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(1000))
    created_at: Mapped[datetime]


class LedgerEntryRow(Base):
    """Append-only: a double entry, and its link in the chain of hashes.

    `hash` covers the hash before, and the entry with its postings; `signature` signs the chain up
    to here, null for entries older than signatures.
    """

    __tablename__ = "ledger_entries"

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry_key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    invoice_id: Mapped[str] = mapped_column(ForeignKey("invoices.id"), index=True)
    created_at: Mapped[datetime]
    previous_hash: Mapped[str]
    hash: Mapped[str]
    signing_key_id: Mapped[str | None] = mapped_column(ForeignKey("signing_keys.id"))
    signature: Mapped[str | None]


class PostingRow(Base):
    """Append-only: the rows of one `entry_key` sum to zero in each currency."""

    __tablename__ = "postings"
    __table_args__ = (
        UniqueConstraint("entry_key", "account"),
        CheckConstraint("amount_micro_units <> 0", name="amount_not_zero"),
        # Balances are summed from the index alone: an account's rows lie all over the table.
        Index("ix_postings_balances", "account", "currency", "amount_micro_units"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    entry_key: Mapped[str]
    account: Mapped[str]
    amount_micro_units: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    invoice_id: Mapped[str] = mapped_column(ForeignKey("invoices.id"))
    created_at: Mapped[datetime]


class ReceiptRow(Base):
    """Append-only. The signature is null for receipts older than signatures."""

    __tablename__ = "receipts"

    id: Mapped[str] = mapped_column(primary_key=True)
    invoice_id: Mapped[str] = mapped_column(ForeignKey("invoices.id"), unique=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), index=True)
    body: Mapped[dict[str, Any]]
    body_digest: Mapped[str]
    signing_key_id: Mapped[str | None]
    signature: Mapped[str | None]
    created_at: Mapped[datetime]


class WebhookEndpointRow(Base):
    """Where an owner (a group's id, or `operator`) wants to be told of its own events.

    While a message is on its way to it, the endpoint is held until `held_until`; each claim raises
    the fencing token. Afterwards that is when it was let go. The key before signs as well for a
    while after a rotation.
    """

    __tablename__ = "webhook_endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(index=True)
    url: Mapped[str] = mapped_column(String(2000))
    event_types: Mapped[list[Any]]
    status: Mapped[str]
    public_key: Mapped[str]
    sealed_private_key: Mapped[bytes]
    previous_public_key: Mapped[str | None]
    previous_sealed_private_key: Mapped[bytes | None]
    previous_expires_at: Mapped[datetime | None]
    fencing_token: Mapped[int] = mapped_column(BigInteger, default=0)
    held_until: Mapped[datetime | None]
    paused_until: Mapped[datetime | None]
    created_at: Mapped[datetime]


class WebhookMessageRow(Base):
    """The outbox: written in the transaction of what it tells, sent afterwards until it arrives."""

    __tablename__ = "webhook_messages"
    __table_args__ = (Index("ix_webhook_messages_due", "endpoint_id", "status", "next_attempt_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id"))
    type: Mapped[str]
    payload: Mapped[dict[str, Any]]
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(String(1000))
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]


class IdempotencyRow(Base):
    """The answer to a POST with an `Idempotency-Key`, written in the POST's own transaction."""

    __tablename__ = "idempotency_keys"

    owner_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_digest: Mapped[str]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class AuditRow(Base):
    """Append-only: who did what to whom. Audits of incentives are IncentiveAuditRow."""

    __tablename__ = "audit_log"

    id: Mapped[str] = mapped_column(primary_key=True)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    reason: Mapped[str | None] = mapped_column(String(1000))
    created_at: Mapped[datetime]


APPEND_ONLY_TABLES = (
    "job_events",
    "postings",
    "audit_log",
    "ledger_entries",
    "invoice_payments",
    "credit_notes",
    "receipts",
)
"""Guarded by triggers that refuse UPDATE and DELETE, on SQLite and PostgreSQL."""
