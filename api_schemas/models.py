"""Tuned models: LoRA adapters in PEFT's format."""

from typing import Literal

from pydantic import ConfigDict

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
