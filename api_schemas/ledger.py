"""Invoices and receipts. Money is an integer of millionths of the currency."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.commitments import PathStep
from api_schemas.ids import (
    CreditNoteId,
    GroupId,
    InvoiceId,
    PaymentId,
    ReceiptId,
    RoundId,
    Sha256,
    SigningKeyId,
)
from api_schemas.rounds import (
    MAX_EXACT_INTEGER,
    CounterfactualMethod,
    Currency,
    PaymentRule,
    Regularizer,
    ValuationBasis,
)

InvoiceStatus = Literal["draft", "open", "paid", "void", "uncollectible"]


class Invoice(Schema):
    """What a group owes for a round, or is owed, and what became of that.

    amount_due = amount − credited − paid while it is open, uncollectible or paid; a paid one owes
    nothing any more, unless a credit note came after: then the amount due has the other sign.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [examples.INVOICE]})

    object: Literal["invoice"] = "invoice"
    id: InvoiceId
    number: int | None = Field(description="Gap-free, from 1; null for one that was never opened.")
    round_id: RoundId
    group_id: GroupId
    receipt_id: ReceiptId | None = Field(description="Null for one that was never opened.")
    status: InvoiceStatus
    amount_micro_units: int = Field(description="Negative: the group is owed it.")
    amount_credited_micro_units: int = Field(description="The sum of its credit notes.")
    amount_paid_micro_units: int = Field(description="The sum of its payments.")
    amount_due_micro_units: int = Field(description="What is still to be paid; 0 if void.")
    currency: Currency
    created_at: Timestamp
    opened_at: Timestamp | None = Field(description="When it got its number and its receipt.")
    ended_at: Timestamp | None = Field(description="When it became paid, void or uncollectible.")


Amount = Annotated[int, Field(ge=-MAX_EXACT_INTEGER, le=MAX_EXACT_INTEGER, strict=True)]


class PaymentCreate(Schema):
    """Money that moved outside of the service."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"amount_micro_units": 375_000, "reference": "bank transfer 2030-01-15"}]
        }
    )

    amount_micro_units: Amount = Field(
        description="Of the sign of the amount due, and at most that; negative where the operator "
        "paid the group."
    )
    reference: str = Field(
        min_length=1, max_length=255, description="Where the money can be found, for both sides."
    )


class Payment(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.PAYMENT]})

    object: Literal["payment"] = "payment"
    id: PaymentId
    invoice_id: InvoiceId
    amount_micro_units: int
    currency: Currency
    reference: str
    created_at: Timestamp


class CreditNoteCreate(Schema):
    """Takes back a part of an invoice, or all of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"amount_micro_units": 75_000, "reason": "agreed with the teachers"}]
        }
    )

    amount_micro_units: Amount = Field(
        description="Of the sign of the invoice's amount; all credit notes of an invoice together "
        "are at most that."
    )
    reason: str = Field(min_length=1, max_length=1000, description="The group reads it.")


class CreditNote(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.CREDIT_NOTE]})

    object: Literal["credit_note"] = "credit_note"
    id: CreditNoteId
    number: int = Field(description="Gap-free, from 1; not an invoice's.")
    invoice_id: InvoiceId
    amount_micro_units: int
    currency: Currency
    reason: str
    created_at: Timestamp


class LedgerHead(Schema):
    """The chain of the ledger up to an entry: its number, and the hash that covers all before."""

    sequence: int = Field(ge=1)
    hash: Sha256


class ReceiptBody(Schema):
    """What a group needs to check its payment: arithmetic, rules and digests."""

    type: Literal["truthtune.receipt"] = "truthtune.receipt"
    version: Literal[2] = 2
    receipt_id: ReceiptId
    invoice_id: InvoiceId
    invoice_number: int
    issued_at: Timestamp
    round_id: RoundId
    group_id: GroupId
    announcement_digest: Sha256
    report_commitment: Sha256 = Field(description="As its author got it with the report.")
    commitment_root: Sha256 = Field(description="As the round shows it since its close.")
    commitment_path: list[PathStep] = Field(description="From the commitment to the root.")
    counterfactuals: CounterfactualMethod
    payment_rule: PaymentRule
    regularizer: Regularizer
    value_on: ValuationBasis
    size: int
    valuation: float
    others_welfare_without: float | None = Field(description="Null with fewer than three groups.")
    others_welfare_with: float | None = Field(description="Null with fewer than three groups.")
    others_welfare_difference: float = Field(description="Without − with; always told.")
    surcharge: float | None = Field(description="Under `revenue_maximizing`; null otherwise.")
    payment: float = Field(description="The difference, plus the surcharge: agent·reward units.")
    utility: float
    divergence: float
    price_per_unit_micro_units: int
    amount_micro_units: int
    rounding: Literal["floor"] = "floor"
    currency: Currency
    pool_digest: Sha256
    adapter_digest: Sha256
    certificate_digest: Sha256 = Field(
        description="Of the canonical JSON of the round's certificate as the group sees it, with "
        "`audited` null, so that later audits leave it true."
    )
    code_version: str | None
    ledger_head: LedgerHead | None = Field(
        description="The chain once this invoice was posted; null if nothing was posted ever."
    )


class Signature(Schema):
    """Ed25519 over the canonical JSON (RFC 8785) of what is signed."""

    algorithm: Literal["ed25519"] = "ed25519"
    key_id: SigningKeyId
    signature: str = Field(description="64 bytes in base 64.")


class ReceiptBodyVersion1(Schema):
    """The body of receipts older than signatures."""

    version: Literal[1]
    round_id: RoundId
    group_id: GroupId
    invoice_number: int
    announcement_digest: Sha256
    report_digest: Sha256
    counterfactuals: CounterfactualMethod
    payment_rule: PaymentRule
    regularizer: Regularizer
    value_on: ValuationBasis
    size: int
    valuation: float
    others_welfare_without: float | None
    others_welfare_with: float | None
    surcharge: float | None
    payment: float
    utility: float
    divergence: float
    price_per_unit_micro_units: int
    amount_micro_units: int
    rounding: Literal["floor"]
    currency: Currency
    pool_digest: Sha256
    adapter_digest: Sha256


class Receipt(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.RECEIPT]})

    object: Literal["receipt"] = "receipt"
    id: ReceiptId
    invoice_id: InvoiceId
    body: ReceiptBody | ReceiptBodyVersion1
    body_digest: Sha256 = Field(description="sha256 of the body's canonical JSON (RFC 8785).")
    signature: Signature | None = Field(description="Null for a body of version 1.")
    created_at: Timestamp
