"""Whether the service runs, and whether it can work."""

from typing import Literal

from api_schemas.base import Schema


class Health(Schema):
    object: Literal["health"] = "health"
    status: Literal["ok"] = "ok"
