"""A job on the tiny model, whose true expectations are known, run in this process without Ray."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from api_schemas.audits import AuditCreate, Audited
from api_schemas.jobs import (
    STAGES,
    AuditInput,
    JobInput,
    ProgressEvent,
    ReportInput,
    stages_of,
)
from api_schemas.outcomes import Valued
from api_schemas.rounds import Announcement
from workers import base_models, tiny_model
from workers.artifacts import ArtifactStore, canonical_json, sha256_of
from workers.stages.context import StageContext, TaskContext
from workers.stages.run import STAGE_FUNCTIONS
from workers.stages.train import train_loop

PROMPTS = ("red sun", "green rain", "blue sun rain", "rain rain sun")
GROUP_IDS = tuple(f"grp_{letter * 26}" for letter in "abc")
TASTES: tuple[dict[str, Any], ...] = (
    {
        "type": "lexical",
        "features": [
            {"type": "keywords", "words": ["red"], "weight": 1.0},
            {"type": "keywords", "words": ["sun"], "weight": 0.5},
        ],
    },
    {
        "type": "lexical",
        "features": [
            {"type": "length", "target_words": 3, "weight": 1.0},
            {"type": "keywords", "words": ["rain"], "weight": 1.0},
        ],
    },
    {"type": "lexical", "features": [{"type": "keywords", "words": ["blue"], "weight": 1.0}]},
)


class InProcess:
    """A runner with one worker: this process."""

    model_shards = 1
    train_workers = 1
    sampler = "torch"

    def __init__(self, context: TaskContext):
        self.context = context

    def map(self, task: Callable[..., Any], items: Sequence[Any], **_options: Any) -> list[Any]:
        return [task(self.context, item) for item in items]

    def train(self, inputs: dict[Any, str], run_name: str) -> str:
        return train_loop(self.context, inputs)

    def forget_training(self, run_name: str) -> None:
        pass


class OfflineRound:
    """A round whose stages run one after another; `digests` and `events` are what they left."""

    def __init__(self, artifacts: ArtifactStore, job: JobInput):
        self.artifacts, self.job = artifacts, job
        self.events: list[ProgressEvent] = []
        self.digests: dict[Any, str] = {}

    def context(self) -> StageContext:
        task = TaskContext(self.job, self.artifacts, self.events.append)
        return StageContext(
            self.job, self.artifacts, self.events.append, self.digests, InProcess(task)
        )

    def run(self, *stages: Any) -> None:
        for stage in stages or STAGES[:-1]:
            self.digests[stage] = STAGE_FUNCTIONS[stage](self.context())

    def audited(self, **settings: Any) -> Audited:
        """Run the audit of the settled round, as a job of its own."""
        audit = AuditInput(
            audit_id="aud_" + "a" * 26,
            settings=AuditCreate.model_validate(settings),
            round_stages=dict(self.digests),
        )
        job = self.job.model_copy(update={"audit": audit})
        task = TaskContext(job, self.artifacts, self.events.append)
        inputs = dict(self.digests)
        for stage in stages_of("audit")[:-1]:
            context = StageContext(job, self.artifacts, self.events.append, inputs, InProcess(task))
            inputs[stage] = STAGE_FUNCTIONS[stage](context)
        return Audited.model_validate_json(self.artifacts.get(inputs["retrain"]))

    def outcome(self) -> Valued:
        return Valued.model_validate_json(self.artifacts.get(self.digests["value"]))


class TinyRound(OfflineRound):
    """One on the enumerable model."""

    def __init__(self, folder: Path, **changes: Any):
        artifacts = ArtifactStore(str(folder))
        sizes = changes.pop("sizes", (3, 7, 5))
        tastes = changes.pop("tastes", TASTES)
        prompts = changes.pop("prompts", PROMPTS)
        super().__init__(artifacts, _job(artifacts, sizes, tastes, prompts, changes))


def _job(
    artifacts: ArtifactStore,
    sizes: Sequence[int],
    tastes: Sequence[dict[str, Any]],
    prompts: Sequence[str],
    changes: dict[str, Any],
) -> JobInput:
    lines = b"".join(canonical_json({"prompt": prompt}) + b"\n" for prompt in prompts)
    rules = {
        "name": "a tiny round",
        "base_model": tiny_model.NAME,
        "base_model_revision": base_models.resolve(tiny_model.NAME).revision,
        "prompts_file_id": "file_" + "a" * 26,
        "prompts_sha256": artifacts.put(lines),
        "pool": {"method": "enumerate", "fresh_samples_per_prompt": 32},
        "generation": {"max_new_tokens": 3},
        "regularizer": {"type": "kl", "coefficient": 2.0},
        "training": {"steps": 4, "top_layers": None, "learning_rate": 0.005},
        "max_group_size": 100,
        "price_per_unit_micro_units": 1_000_000,
        **changes,
    }
    announcement = Announcement.model_validate(rules)
    reports = [
        ReportInput(
            group_id=group_id,
            size=size,
            reward_model=taste,
            report_digest=sha256_of(canonical_json(taste)),
        )
        for group_id, size, taste in zip(GROUP_IDS, sizes, tastes, strict=False)
    ]
    return JobInput(
        round_id="rnd_" + "a" * 26,
        announcement=announcement,
        announcement_digest=sha256_of(canonical_json(announcement.model_dump(mode="json"))),
        reports=reports,
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads cost more than they save on a model of a few thousand weights."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny_round(tmp_path: Path) -> Callable[..., TinyRound]:
    """Makes a round with changes to the announcement, `sizes`, `tastes` or `prompts`."""
    return lambda **changes: TinyRound(tmp_path / "artifacts", **changes)
