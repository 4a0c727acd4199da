"""The audit log: who did what to whom."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import LogId


class AuditLogEntry(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.AUDIT_LOG_ENTRY]})

    object: Literal["audit_log_entry"] = "audit_log_entry"
    id: LogId
    actor: str = Field(description="An owner and its key, or a process such as `coordinator`.")
    action: str = Field(description="A noun and a verb in the past, as in `round.opened`.")
    subject: str = Field(description="The id of what it was done to.")
    reason: str | None = Field(description="Why, where the deed asks for a reason.")
    created_at: Timestamp
