"""Uploaded files."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.datasets import DataValidation
from api_schemas.ids import FileId, Sha256

FilePurpose = Literal[
    "prompts", "preferences", "adapter", "document", "questions", "question_answers"
]
"""`prompts`: JSONL of `{"prompt", "weight"?}`; `preferences`: pairs, votes or dialogues as JSONL,
CSV or Parquet; `adapter`: a PEFT adapter's safetensors file; `document`: text, Markdown or PDF;
`questions`: JSONL of `{"question"}`; `question_answers`: JSONL of `{"question", "answer"}`."""


class File(Schema):
    model_config = ConfigDict(
        json_schema_extra={"examples": [examples.FILE, examples.PREFERENCES_FILE]}
    )

    object: Literal["file"] = "file"
    id: FileId
    purpose: FilePurpose
    filename: str
    bytes: int = Field(ge=0)
    lines: int | None = Field(description="Prompts or preferences in the file, null for adapters.")
    sha256: Sha256
    validation: DataValidation | None = Field(
        None, description="Of preferences: what the file holds, and what of it can't be used."
    )
    created_at: Timestamp


class FileDeleted(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.FILE_DELETED]})

    object: Literal["file.deleted"] = "file.deleted"
    id: FileId
    deleted: Literal[True] = True
