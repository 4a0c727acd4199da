"""Invoices and receipts. Money is an integer of millionths of the currency."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import GroupId, InvoiceId, ReceiptId, RoundId, Sha256
from api_schemas.rounds import (
    CounterfactualMethod,
    Currency,
    PaymentRule,
    Regularizer,
    ValuationBasis,
)

InvoiceStatus = Literal["open", "paid"]


class Invoice(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.INVOICE]})

    object: Literal["invoice"] = "invoice"
    id: InvoiceId
    number: int = Field(description="Gap-free, in order of issue.")
    round_id: RoundId
    group_id: GroupId
    receipt_id: ReceiptId
    status: InvoiceStatus = Field(description="An amount of 0 is paid at once.")
    amount_micro_units: int = Field(description="Negative: credited to the group.")
    currency: Currency
    created_at: Timestamp


class ReceiptBody(Schema):
    """What a group needs to check its payment: arithmetic, rules and digests."""

    version: Literal[1] = 1
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
    others_welfare_without: float | None = Field(description="Null with fewer than three groups.")
    others_welfare_with: float | None = Field(description="Null with fewer than three groups.")
    surcharge: float | None = Field(description="Under `revenue_maximizing`; null otherwise.")
    payment: float = Field(
        description="The first minus the second, plus the surcharge: agent·reward units."
    )
    utility: float
    divergence: float
    price_per_unit_micro_units: int
    amount_micro_units: int
    rounding: Literal["floor"] = "floor"
    currency: Currency
    pool_digest: Sha256
    adapter_digest: Sha256


class Receipt(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.RECEIPT]})

    object: Literal["receipt"] = "receipt"
    id: ReceiptId
    invoice_id: InvoiceId
    body: ReceiptBody
    body_digest: Sha256 = Field(description="sha256 of the body's canonical JSON (RFC 8785).")
    created_at: Timestamp
