"""The answer of the health routes: that it came is the message."""

from typing import Literal

from pydantic import ConfigDict

from api_schemas import examples
from api_schemas.base import Schema


class Health(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.HEALTH]})

    object: Literal["health"] = "health"
    status: Literal["ok"] = "ok"
