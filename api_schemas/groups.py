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


class Key(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.KEY]})

    object: Literal["key"] = "key"
    id: KeyId
    scope: Scope
    group_id: GroupId | None
    name: str
    created_at: Timestamp
    revoked_at: Timestamp | None


class KeyWithSecret(Key):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.KEY_WITH_SECRET]})

    secret: str = Field(description="Shown this once; the service keeps only its HMAC.")
