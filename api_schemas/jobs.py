"""Jobs, their events, and the input a job hands to the workers."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import EventId, GroupId, JobId, RoundId, Sha256
from api_schemas.reward_models import RewardModelSpec
from api_schemas.rounds import Announcement, RoundFailure

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
StageName = Literal["fit_rewards", "sample_pool", "score", "solve", "train", "value", "settle"]
STAGES: tuple[StageName, ...] = (
    "fit_rewards",
    "sample_pool",
    "score",
    "solve",
    "train",
    "value",
    "settle",
)


class StageProgress(Schema):
    name: StageName
    status: Literal["pending", "running", "done"]
    seconds: float | None = Field(description="Wall-clock seconds the stage took.")
    digest: Sha256 | None = Field(
        description="The artifact that the stage left; null for groups, who could test guesses "
        "of others' reports by it."
    )


class Job(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.JOB]})

    object: Literal["job"] = "job"
    id: JobId
    round_id: RoundId
    status: JobStatus
    stages: list[StageProgress]
    attempts: int = Field(description="How often a coordinator has claimed it.")
    cancel_requested: bool
    error: RoundFailure | None
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None


EventType = Literal[
    "job_queued",
    "job_claimed",
    "stage_started",
    "stage_progress",
    "stage_finished",
    "training_step",
    "world_evaluated",
    "group_excluded",
    "warning",
    "job_succeeded",
    "job_failed",
    "job_cancelled",
]
PUBLIC_EVENTS: frozenset[EventType] = frozenset(
    {
        "job_queued",
        "job_claimed",
        "stage_started",
        "stage_finished",
        "job_succeeded",
        "job_failed",
        "job_cancelled",
    }
)
"""What groups may see of a job: worlds' figures and exclusions would tell of others' reports."""


class JobEvent(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.JOB_EVENT]})

    object: Literal["job.event"] = "job.event"
    id: EventId
    sequence: int = Field(description="1, 2, … within the job; the `id` field of the SSE stream.")
    type: EventType
    level: Literal["info", "warning", "error"] = "info"
    message: str
    data: dict[str, Any] = Field(description="Figures: stage, step, world, welfare, kl …")
    created_at: Timestamp


class ProgressEvent(Schema):
    """What a worker tells while a stage runs; the coordinator turns it into a job event."""

    type: EventType
    level: Literal["info", "warning", "error"] = "info"
    message: str
    data: dict[str, Any] = Field(default_factory=dict)


class ReportInput(Schema):
    """One group's report as the workers get it."""

    group_id: GroupId
    size: int = Field(ge=1)
    reward_model: RewardModelSpec
    report_digest: Sha256
    data_sha256: Sha256 | None = Field(
        None, description="The preference file in the artifact store, if the report names one."
    )


class JobInput(Schema):
    """Everything a job's stages depend on; nothing else may influence an outcome."""

    round_id: RoundId
    announcement: Announcement
    announcement_digest: Sha256
    reports: list[ReportInput] = Field(description="Sorted by group id.")
