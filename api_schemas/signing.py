"""The public keys that receipts and the ledger's chain are signed with."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import SigningKeyId


class SigningKey(Schema):
    """The public part of a key of the service. The newest that is not retired signs."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SIGNING_KEY]})

    object: Literal["signing_key"] = "signing_key"
    id: SigningKeyId
    algorithm: Literal["ed25519"] = "ed25519"
    public_key: str = Field(description="The raw 32 bytes in base 64.")
    created_at: Timestamp
    retired_at: Timestamp | None = Field(
        description="Since when it signs no more; what it signed before stays signed."
    )
