"""The ledger as the operator reads it: balances, the chain's head, postings."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import InvoiceId, PostingId, Sha256, SigningKeyId
from api_schemas.rounds import Currency


class AccountBalance(Schema):
    """The sum of an account's postings in one currency."""

    account: str = Field(description="`receivable:<group id>`, or one of the operator's.")
    currency: Currency
    balance_micro_units: int = Field(description="Negative: more was credited than debited.")
    postings: int


class SignedHead(Schema):
    """The last entry of the chain, whose hash covers all before it."""

    sequence: int = Field(ge=1)
    hash: Sha256
    signing_key_id: SigningKeyId | None
    signature: str | None = Field(description="Null for an entry older than signatures.")
    is_signed: bool = Field(
        description="Whether the signature is that of this head by that key, checked just now. "
        "`truthtune ledger verify` walks the whole chain."
    )
    created_at: Timestamp


class Ledger(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.LEDGER]})

    object: Literal["ledger"] = "ledger"
    head: SignedHead | None = Field(description="Null while nothing was ever posted.")
    balances: list[AccountBalance] = Field(
        description="By account and currency; those of one currency sum to 0."
    )


class Posting(Schema):
    """One side of an entry; the postings of an entry sum to 0."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.POSTING]})

    object: Literal["posting"] = "posting"
    id: PostingId
    sequence: int = Field(ge=1, description="Of its entry in the chain.")
    entry_key: str
    kind: str = Field(description="What the entry is of, as `invoice.opened`.")
    account: str
    amount_micro_units: int = Field(description="Above 0: a debit.")
    currency: Currency
    invoice_id: InvoiceId
    created_at: Timestamp
