"""Jobs, their events, and the input a job hands to the workers."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.audits import AuditCreate
from api_schemas.base import Schema, Timestamp
from api_schemas.corpora import CorpusCreate
from api_schemas.evaluations import EvaluatedModel, EvaluationCreate
from api_schemas.fine_tuned_models import BaseModelCreate
from api_schemas.ids import (
    AuditId,
    BaseModelId,
    CorpusId,
    EvaluationId,
    EventId,
    FileId,
    GroupId,
    JobId,
    PreviewId,
    QuoteId,
    RerankingId,
    RewardModelId,
    RoundId,
    Sha256,
)
from api_schemas.quotes import QuoteCreate
from api_schemas.reports import ProbeResult
from api_schemas.reward_models import Candidates, NewRewardModel, PinnedInputs, RewardModelSpec
from api_schemas.rounds import Announcement, RoundFailure

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
JobKind = Literal[
    "round",
    "audit",
    "reward_model",
    "reranking",
    "quote",
    "preview",
    "corpus",
    "base_model",
    "evaluation",
]
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
    "fit_reward_model",
    "rerank",
    "calibrate",
    "preview",
    "write_questions",
    "optimize_prompt",
    "write_answers",
    "fine_tune",
    "evaluate",
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
"""What the job of a round does."""
_STAGES_OF: Mapping[JobKind, tuple[StageName, ...]] = {
    "round": STAGES,
    "audit": ("replay", "retrain", "publish"),
    "reward_model": ("fit_reward_model", "publish"),
    "reranking": ("rerank", "publish"),
    "quote": ("calibrate", "publish"),
    "preview": ("preview", "publish"),
    "corpus": ("write_questions", "optimize_prompt", "write_answers", "publish"),
    "base_model": ("fine_tune", "publish"),
    "evaluation": ("evaluate", "publish"),
}


def stages_of(kind: JobKind) -> tuple[StageName, ...]:
    """The stages of a job in their order; the last is the service's own."""
    return _STAGES_OF[kind]


class StageProgress(Schema):
    name: StageName
    status: Literal["pending", "running", "done"]
    seconds: float | None = Field(description="Wall-clock seconds the stage took.")
    digest: Sha256 | None = Field(
        description="The artifact that the stage left; null for groups, who could test guesses "
        "of others' reports by it."
    )
    expired: bool = Field(
        False, description="Whether that artifact is kept no longer; a retry makes it again."
    )


class Job(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.JOB]})

    object: Literal["job"] = "job"
    id: JobId
    kind: JobKind = Field(
        "round",
        description="A closed round's own job, an audit of a settled one, a quote for one to come, "
        "or one of a reward model or of a report's preview, which its owner alone sees.",
    )
    round_id: RoundId | None = Field(description="Null for jobs that are their owner's alone.")
    audit_id: AuditId | None = None
    reward_model_id: RewardModelId | None = None
    reranking_id: RerankingId | None = None
    quote_id: QuoteId | None = None
    preview_id: PreviewId | None = None
    corpus_id: CorpusId | None = None
    base_model_id: BaseModelId | None = None
    evaluation_id: EvaluationId | None = None
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
    pinned: PinnedInputs = PinnedInputs()


class AuditInput(Schema):
    """What the job of an audit has beyond its round's input."""

    audit_id: AuditId
    settings: AuditCreate
    round_stages: dict[StageName, Sha256] = Field(
        description="What the stages of the settled round left, which the audit starts from."
    )


class RoundJob(Schema):
    """The job of a round or an audit as it waits in the queue: its reports are sealed elsewhere."""

    round_id: RoundId
    announcement: Announcement
    announcement_digest: Sha256
    audit: AuditInput | None = Field(None, description="Null for the job of the round itself.")

    @property
    def kind(self) -> JobKind:
        return "round" if self.audit is None else "audit"

    def stage_inputs(self, finished: Mapping[StageName, str]) -> dict[StageName, str]:
        """The artifacts that the next stage starts from: those of the job's `finished` stages, and
        of its round's stages if it is an audit."""
        before = self.audit.round_stages if self.audit else {}
        return {**before, **finished}


class JobInput(RoundJob):
    """Everything that such a job's stages depend on; nothing else may influence an outcome."""

    reports: list[ReportInput] = Field(description="Sorted by group id.")


class RewardModelJobInput(Schema):
    """Everything that a reward model which is made ahead of a round depends on."""

    kind: Literal["reward_model"] = "reward_model"
    reward_model_id: RewardModelId
    reward_model: NewRewardModel
    evaluation_file_id: FileId | None
    pinned: PinnedInputs
    owner_id: str | None = Field(
        None, description="Whose it is; null in jobs from before judges were counted by owner."
    )

    def stage_inputs(self, finished: Mapping[StageName, str]) -> dict[StageName, str]:
        return dict(finished)


class RerankingJobInput(Schema):
    """Everything that a reranking depends on. `fitted` is the reward model's digest."""

    kind: Literal["reranking"] = "reranking"
    reranking_id: RerankingId
    fitted: Sha256
    items: list[Candidates]

    def stage_inputs(self, finished: Mapping[StageName, str]) -> dict[StageName, str]:
        return dict(finished)


class QuoteJobInput(Schema):
    """Everything that a quote depends on, but for the machines. No report is among it."""

    kind: Literal["quote"] = "quote"
    quote_id: QuoteId
    round_id: RoundId
    announcement: Announcement
    settings: QuoteCreate
    groups: int = Field(ge=1, description="Groups that are taken to report.")

    def stage_inputs(self, finished: Mapping[StageName, str]) -> dict[StageName, str]:
        return dict(finished)


class PreviewJob(Schema):
    """The job of a preview as it waits in the queue: what it is of is sealed elsewhere."""

    kind: Literal["preview"] = "preview"
    preview_id: PreviewId


class PreviewJobInput(PreviewJob):
    """Everything that a preview depends on. `result_key` is what its result is sealed with."""

    announcement: Announcement
    report: ReportInput
    probe: ProbeResult | None
    result_key: str = Field(repr=False)

    def stage_inputs(self, finished: Mapping[StageName, str]) -> dict[StageName, str]:
        return dict(finished)


class DocumentInput(Schema):
    """An uploaded document, as it was when the corpus was asked for."""

    file_id: FileId
    filename: str
    sha256: Sha256


class CorpusJobInput(Schema):
    """Everything that a corpus depends on, but for what endpoints reply, which is recorded."""

    kind: Literal["corpus"] = "corpus"
    corpus_id: CorpusId
    settings: CorpusCreate
    documents: list[DocumentInput]
    seed_questions: Sha256 | None = Field(description="Of the file; null: those shipped.")
    pairs: Sha256 | None = Field(description="Of the prompt optimisation's file.")
    base_models: dict[str, Sha256] = Field(description="Revisions of the local models.")
    replay_calls: Sha256 | None = Field(description="The calls of the corpus that is replayed.")

    def stage_inputs(self, finished: Mapping[StageName, str]) -> dict[StageName, str]:
        return dict(finished)


class BaseModelJobInput(Schema):
    """Everything that a fine-tuned base model depends on."""

    kind: Literal["base_model"] = "base_model"
    base_model_id: BaseModelId
    settings: BaseModelCreate
    base_model_revision: Sha256
    lines: Sha256 = Field(description="JSONL with `question` and `answer`.")
    holdout: Sha256 | None = Field(description="Null: a share of the lines is held out.")

    def stage_inputs(self, finished: Mapping[StageName, str]) -> dict[StageName, str]:
        return dict(finished)


class EvaluatedInput(Schema):
    """A model that is evaluated; `adapter` names the files of a tuned one, by file name."""

    model: EvaluatedModel
    base_model: str
    revision: Sha256
    adapter: dict[str, Sha256] | None


class EvaluationJobInput(Schema):
    """Everything that an evaluation depends on, but for what a judge replies, which is recorded."""

    kind: Literal["evaluation"] = "evaluation"
    evaluation_id: EvaluationId
    settings: EvaluationCreate
    models: list[EvaluatedInput]
    questions: Sha256 = Field(description="JSONL with `question` and `answer`.")
    base_models: dict[str, Sha256] = Field(description="Revision of a local judge.")

    def stage_inputs(self, finished: Mapping[StageName, str]) -> dict[StageName, str]:
        return dict(finished)


_OwnJobInput = (
    RewardModelJobInput
    | RerankingJobInput
    | QuoteJobInput
    | CorpusJobInput
    | BaseModelJobInput
    | EvaluationJobInput
)
"""Jobs whose input waits in the queue as it is."""
AnyJobInput = JobInput | PreviewJobInput | _OwnJobInput
QueuedJob = RoundJob | PreviewJob | _OwnJobInput
