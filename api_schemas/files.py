"""Uploaded files."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import FileId, Sha256

FilePurpose = Literal["prompts", "preferences", "adapter"]
"""`prompts`: JSONL of `{"prompt", "weight"?}`; `preferences`: JSONL of `{"prompt", "chosen",
"rejected"}`; `adapter`: a PEFT adapter's safetensors file."""


class File(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.FILE]})

    object: Literal["file"] = "file"
    id: FileId
    purpose: FilePurpose
    filename: str
    bytes: int = Field(ge=0)
    lines: int | None = Field(description="Records in a JSONL file, null for others.")
    sha256: Sha256
    created_at: Timestamp
