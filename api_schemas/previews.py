"""Previews: what a report would say of sample responses, its author's alone to see."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import JobId, PreviewId, RoundId
from api_schemas.reports import ProbeResult


class ScoredResponse(Schema):
    prompt: str
    response: str
    score: float = Field(description="The reward model's own, on any scale.")
    reward: float = Field(ge=0, le=1, description="On the scale of the samples' range.")


class Histogram(Schema):
    """Of rewards: `counts[k]` lie from `edges[k]` to below `edges[k + 1]`, the last included."""

    edges: list[float]
    counts: list[int]

    @model_validator(mode="after")
    def _an_edge_more_than_bins(self) -> Self:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"{len(self.edges)} edges for {len(self.counts)} bins")
        return self


class ScoredSamples(Schema):
    """Scores and rewards of all sample responses."""

    minimum: float = Field(description="The lowest score, whose reward is 0.")
    maximum: float = Field(description="The highest score, whose reward is 1.")
    mean_score: float
    mean_reward: float = Field(description="What the initial model is worth to an agent, about.")
    histogram: Histogram
    best: list[ScoredResponse] = Field(description="The best first.")
    worst: list[ScoredResponse] = Field(description="The worst first.")


class PreviewResult(Schema):
    """`excluded` is why the round would exclude such a report; nothing is scored then."""

    prompts: int
    responses: int = Field(description="Samples of the initial model, over all those prompts.")
    probe: ProbeResult | None = Field(description="As the report itself would have it.")
    excluded: str | None
    scored: ScoredSamples | None
    warnings: list[str]


class Preview(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.PREVIEW]})

    object: Literal["report.preview"] = "report.preview"
    id: PreviewId
    round_id: RoundId
    job_id: JobId
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    result: PreviewResult | None = Field(description="Null until its job succeeded, and in lists.")
    created_at: Timestamp


class PreviewDeleted(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.PREVIEW_DELETED]})

    object: Literal["report.preview.deleted"] = "report.preview.deleted"
    id: PreviewId
    deleted: Literal[True] = True
