"""Groups and the API keys that speak for them or for the operator."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import GroupId, KeyId

ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
"""No control characters; PostgreSQL's text can't hold U+0000 at all."""


class GroupCreate(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "teachers"}]})

    name: str = Field(
        min_length=1, max_length=100, pattern=ONE_LINE, description="Unique among the groups."
    )


class Group(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.GROUP]})

    object: Literal["group"] = "group"
    id: GroupId
    name: str
    created_at: Timestamp


Scope = Literal["operator", "group"]
Access = Literal["full", "read"]
"""`read`: GET and HEAD alone, for dashboards and backups."""

DEFAULT_GRACE_SECONDS = 86_400
MAX_GRACE_SECONDS = 30 * 86_400


class KeyCreate(Schema):
    """A key for a group (`group_id` given) or for the operator (`scope: operator`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"scope": "group", "group_id": "grp_01jd2m8x3k5v7w9y0a1b2c3d4e", "name": "laptop"}
            ]
        }
    )

    scope: Scope = "group"
    group_id: GroupId | None = None
    name: str = Field(
        "", max_length=100, pattern=ONE_LINE, description="A note to tell keys apart."
    )
    access: Access = Field("full", description="`read`: the key may only GET and HEAD.")
    expires_at: Timestamp | None = Field(
        None, description="In the future, by the database's clock; null for a key that stays."
    )


class KeyRotate(Schema):
    """How an old key goes when its successor comes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"grace_seconds": 3600}]})

    grace_seconds: int = Field(
        DEFAULT_GRACE_SECONDS,
        ge=0,
        le=MAX_GRACE_SECONDS,
        description="For so long the old key goes on beside its successor; 0 ends it at once.",
    )
    expires_at: Timestamp | None = Field(
        None,
        description="Of the successor, as the operator sets it; by default as it was for the key.",
    )


class Key(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.KEY]})

    object: Literal["key"] = "key"
    id: KeyId
    scope: Scope
    group_id: GroupId | None
    name: str
    access: Access
    created_at: Timestamp
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    successor_id: KeyId | None = Field(description="The key that it was last rotated to.")


class KeyWithSecret(Key):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.KEY_WITH_SECRET]})

    secret: str = Field(description="Shown this once; the service keeps only its HMAC.")
