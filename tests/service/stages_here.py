"""The stages themselves in place of a cluster, for a coordinator in this process."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from api_schemas.jobs import AnyJobInput, ProgressEvent, StageName
from service.settings import Settings
from workers import own_base_models
from workers.artifacts import ArtifactStore
from workers.stages.context import StageContext, TaskContext
from workers.stages.run import STAGE_FUNCTIONS
from workers.stages.train import train_loop


class InThisProcess:
    """A cluster whose stages run in the coordinator's thread, and its tasks with them."""

    model_shards = train_workers = 1
    sampler = "torch"

    def __init__(self, settings: Settings):
        self.artifacts = ArtifactStore(settings.resolved_artifacts_url)
        self.endpoints = settings.endpoint_list.with_keys()
        own_base_models.fetch_from(self.artifacts)  # as every process of a cluster does

    def start(self) -> None: ...

    def shutdown(self) -> None: ...

    def run_stage(
        self,
        stage: StageName,
        job: AnyJobInput,
        inputs: Mapping[StageName, str],
        on_event: Callable[[ProgressEvent], None],
        should_stop: Callable[[], bool],
    ) -> str:
        self.task = TaskContext(job, self.artifacts, on_event, endpoints=self.endpoints)
        given: Any = {"inputs": dict(inputs), "runner": self, "endpoints": self.endpoints}
        return STAGE_FUNCTIONS[stage](StageContext(job, self.artifacts, on_event, **given))

    def map(self, task: Callable[..., Any], items: Sequence[Any], **_: Any) -> list[Any]:
        return [task(self.task, item) for item in items]

    def train(self, inputs: dict[StageName, str], run_name: str) -> str:
        return train_loop(self.task, inputs)

    def forget_training(self, run_name: str) -> None: ...
