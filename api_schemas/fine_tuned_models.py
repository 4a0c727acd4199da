"""Base models that are made here: supervised fine-tunes on a corpus, for rounds to start from."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from api_schemas import corpus_examples as examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import BaseModelId, CorpusId, FileId, JobId, Sha256
from api_schemas.preference_methods import DEFAULT_BASE_MODEL, BaseModelName


class SupervisedFineTuning(Schema):
    """LoRA on every linear layer, on the answers' tokens alone."""

    lora_rank: int = Field(64, ge=1, le=1024)
    lora_alpha: float = Field(128.0, gt=0, le=4096)
    learning_rate: float = Field(
        1e-4, gt=0, le=1, description="Rises over the warm-up, then falls linearly to 0."
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Lines of a step.")
    context_tokens: int = Field(
        2048, ge=8, le=131_072, description="A longer line's answer is cut at its end."
    )
    epochs: int = Field(3, ge=1, le=1000)
    warmup_share: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, le=1)
    checkpoints: int = Field(
        4, ge=1, le=100, description="Kept, at equal distances; held-out loss is measured at each."
    )
    seed: int = Field(0, ge=0, lt=2**31)


class BaseModelCreate(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.BASE_MODEL_CREATE]})

    name: str = Field(min_length=1, max_length=100, pattern=r"\S")
    base_model: BaseModelName = Field(
        DEFAULT_BASE_MODEL, description="What is fine-tuned: an allowed one, or one made here."
    )
    corpus_id: CorpusId | None = None
    file_id: FileId | None = Field(
        None, description="Lines of a `question_answers` file, instead of a corpus."
    )
    holdout_share: float = Field(
        0.1, gt=0, lt=1, description="Of a file's lines; a corpus has its own."
    )
    method: SupervisedFineTuning = SupervisedFineTuning()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.corpus_id is None) == (self.file_id is None):
            raise ValueError("corpus_id: give a corpus or a file_id, exactly one of them")
        return self


class LossPoint(Schema):
    """Mean cross-entropy of an answer's token, in nats; step 0 is the model before training."""

    step: int
    train_loss: float | None = Field(description="Over the steps since the point before.")
    holdout_loss: float


class SftCheckpoint(Schema):
    """A PEFT adapter on the base model that was fine-tuned: as it stood after `step` steps."""

    step: int
    holdout_loss: float
    adapter_sha256: Sha256 = Field(description="Of its `adapter_model.safetensors`.")
    config_sha256: Sha256 = Field(description="Of its `adapter_config.json`.")


class BaseModelResult(Schema):
    """What the job of a base model leaves."""

    revision: Sha256 = Field(
        description="Of the model; the artifact of this digest lists its files and their digests."
    )
    started_from: Sha256 = Field(description="Revision of what was fine-tuned.")
    lines: int
    holdout_lines: int
    cut_lines: int = Field(description="Beyond the context.")
    curve: list[LossPoint]
    best_step: int = Field(ge=1, description="The checkpoint that the model is made of.")
    checkpoints: list[SftCheckpoint]
    plot_sha256: Sha256 = Field(description="Of the curve, drawn as SVG.")


class FineTunedBaseModel(Schema):
    """A base model made here. A round announces it by its id."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.BASE_MODEL]})

    object: Literal["base_model"] = "base_model"
    id: BaseModelId
    name: str
    job_id: JobId
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    settings: BaseModelCreate
    result: BaseModelResult | None = Field(description="Null until its job succeeded.")
    created_at: Timestamp
