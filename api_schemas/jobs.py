"""Jobs, their events, and the input a job hands to the workers."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.audits import AuditCreate
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import AuditId, EventId, GroupId, JobId, RoundId, Sha256
from api_schemas.reward_models import RewardModelSpec
from api_schemas.rounds import Announcement, RoundFailure

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
JobKind = Literal["round", "audit"]
StageName = Literal[
    "fit_rewards",
    "sample_pool",
    "score",
    "solve",
    "train",
    "value",
    "settle",
    "replay",
    "retrain",
    "publish",
]
STAGES: tuple[StageName, ...] = (
    "fit_rewards",
    "sample_pool",
    "score",
    "solve",
    "train",
    "value",
    "settle",
)
"""What the job of a round does; the last is the service's own, as in an audit's."""
AUDIT_STAGES: tuple[StageName, ...] = ("replay", "retrain", "publish")


def stages_of(kind: JobKind) -> tuple[StageName, ...]:
    return STAGES if kind == "round" else AUDIT_STAGES


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
    kind: JobKind = Field(
        "round", description="A closed round's own job, or an audit of a settled one."
    )
    round_id: RoundId
    audit_id: AuditId | None = None
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


class AuditInput(Schema):
    """What the job of an audit has beyond its round's input."""

    audit_id: AuditId
    settings: AuditCreate
    round_stages: dict[StageName, Sha256] = Field(
        description="What the stages of the settled round left, which the audit starts from."
    )


class JobInput(Schema):
    """Everything a job's stages depend on; nothing else may influence an outcome."""

    round_id: RoundId
    announcement: Announcement
    announcement_digest: Sha256
    reports: list[ReportInput] = Field(description="Sorted by group id.")
    audit: AuditInput | None = Field(None, description="Null for the job of the round itself.")

    @property
    def kind(self) -> JobKind:
        return "round" if self.audit is None else "audit"

    def stage_inputs(self, finished: Mapping[StageName, str]) -> dict[StageName, str]:
        """The artifacts that the next stage starts from: those of the job's `finished` stages, and
        of its round's stages if it is an audit."""
        before = self.audit.round_stages if self.audit else {}
        return {**before, **finished}
