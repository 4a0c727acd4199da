"""Quotes: what a round would take, extrapolated from a calibration run of seconds."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import JobId, QuoteId, RoundId
from api_schemas.rounds import Currency

QuotedStage = Literal["sample_pool", "score", "solve", "train", "value"]
MAX_GROUPS = 1000
"""Of a quote: the numbers that it works with grow with the square of the groups."""
Stored = Literal["pool", "scores", "log_probs", "adapters", "checkpoints"]


class QuoteCreate(Schema):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"groups": 3, "price_per_device_hour_micro_units": 2_500_000}]
        }
    )

    groups: int | None = Field(
        None,
        ge=1,
        le=MAX_GROUPS,
        strict=True,
        description="Groups that are taken to report. Null: all that are registered, the most that "
        "can. How many did report is sealed until the close, and is never used.",
    )
    price_per_device_hour_micro_units: int | None = Field(
        None,
        ge=0,
        le=10**15,
        strict=True,
        description="Price of an hour of one device, in millionths of the round's currency.",
    )


class Estimate(Schema):
    """What is expected, and between what it lies unless the machine behaves otherwise."""

    expected: float = Field(ge=0)
    low: float = Field(ge=0)
    high: float = Field(ge=0)


class AmountEstimate(Schema):
    """An estimate of money, in millionths of the round's currency."""

    expected_micro_units: int = Field(ge=0)
    low_micro_units: int = Field(ge=0)
    high_micro_units: int = Field(ge=0)


class StageEstimate(Schema):
    stage: QuotedStage
    seconds: Estimate = Field(description="Wall-clock seconds on the cluster as it is.")
    devices: int = Field(ge=0, description="How many it keeps busy; 0: a core beside the GPUs.")
    formula: str = Field(description="What was measured, and what it was multiplied by.")


class StartEstimate(Schema):
    """What comes before any work: processes that start, and each loads the base model."""

    process_seconds: float = Field(description="One process, until it has imported its code.")
    model_load_seconds: float = Field(description="One load of the base model.")
    seconds: Estimate


class StorageEstimate(Schema):
    what: Stored
    bytes: int = Field(ge=0)


class QuoteResult(Schema):
    groups: int = Field(description="Groups that were taken to report.")
    prompts: int
    trainings: int = Field(description="Models that are trained, worlds or reward models.")
    device: str = Field(description="`CPU core`, or the name of the GPU.")
    start: StartEstimate
    stages: list[StageEstimate]
    seconds: Estimate = Field(description="From the close to the result, with `start`.")
    device_hours: Estimate = Field(description="Of `device`.")
    storage: list[StorageEstimate]
    storage_bytes: int
    cost: AmountEstimate | None = Field(
        description="Device hours times their price; null if no price was given."
    )
    currency: Currency
    calibration_seconds: float = Field(description="What the calibration itself took.")
    assumptions: list[str] = Field(description="What the figures rest on, in words.")


class Quote(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.QUOTE]})

    object: Literal["quote"] = "quote"
    id: QuoteId
    round_id: RoundId
    job_id: JobId
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    settings: QuoteCreate
    result: QuoteResult | None = Field(description="Null until its job succeeded, and in lists.")
    created_at: Timestamp
