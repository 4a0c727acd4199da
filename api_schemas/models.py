"""Tuned models: LoRA adapters in PEFT's format."""

import hashlib
from collections.abc import Iterable
from typing import Literal

import rfc8785
from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import ModelId, RoundId, Sha256


class ModelFile(Schema):
    name: str
    bytes: int
    sha256: Sha256


class Model(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL]})

    object: Literal["model"] = "model"
    id: ModelId
    round_id: RoundId
    base_model: str
    base_model_revision: Sha256
    adapter_digest: Sha256
    files: list[ModelFile]
    created_at: Timestamp
    created: int = Field(description="`created_at` in Unix seconds, for OpenAI's clients.")
    owned_by: Literal["truthtune"] = "truthtune"


class BaseModelEntry(Schema):
    """The initial model of settled rounds, which can be asked beside what was made of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.BASE_MODEL]})

    object: Literal["model"] = "model"
    id: str = Field(description="The base model's name, as rounds announce it.")
    base_model_revision: Sha256
    created: int = Field(description="When the newest of these rounds settled, in Unix seconds.")
    owned_by: Literal["base_model"] = "base_model"


def adapter_digest(files: Iterable[ModelFile]) -> str:
    """One digest for all of the adapter's files: of their names and sha256."""
    by_name = {file.name: file.sha256 for file in files}
    return f"sha256:{hashlib.sha256(rfc8785.dumps(by_name)).hexdigest()}"
