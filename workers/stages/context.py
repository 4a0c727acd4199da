"""What a stage gets: the job, the artifacts of earlier stages, and hands to spread work over."""

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol

from typing_extensions import TypeVar

from api_schemas.datasets import PromptLine, parse_jsonl
from api_schemas.jobs import (
    AnyJobInput,
    JobInput,
    PreviewJobInput,
    ProgressEvent,
    QuoteJobInput,
    StageName,
)
from api_schemas.language_models import EndpointAccess
from workers.artifacts import ArtifactStore
from workers.base_models import BaseModel, default_device, load

if TYPE_CHECKING:
    from workers.pool.samplers import SamplerName

Item = TypeVar("Item")
Result = TypeVar("Result")
Job = TypeVar("Job", bound=AnyJobInput, default=JobInput, covariant=True)
"""The kind of job; where none is named, that of a round or its audit."""
OfARound = JobInput | QuoteJobInput | PreviewJobInput
"""The jobs that have a round's announcement."""


@dataclass(frozen=True)
class TaskContext(Generic[Job]):
    """What one task of a stage gets, on whatever machine it runs."""

    job: Job
    artifacts: ArtifactStore
    tell: Callable[[ProgressEvent], None]
    endpoints: tuple[EndpointAccess, ...] = field(default=(), kw_only=True)
    """Those of the operator's list, with their keys: never stored, logged or shown."""

    def base_model(self: "TaskContext[OfARound]") -> BaseModel:
        """The announced base model, loaded once a process, on the GPU if there is one."""
        rules = self.job.announcement
        return load(rules.base_model, rules.base_model_revision, str(default_device()))

    def prompts(self: "TaskContext[OfARound]") -> list[PromptLine]:
        """The announced prompts. Raises InvalidInput if there is none."""
        data = self.artifacts.get(self.job.announcement.prompts_sha256)
        return parse_jsonl(io.BytesIO(data), PromptLine)

    def progress(self, stage: StageName, done: int, total: int, unit: str) -> None:
        self.tell(
            ProgressEvent(
                type="stage_progress",
                message=f"{stage}: {done} of {total} {unit}",
                data={"stage": stage, "done": done, "total": total, "unit": unit},
            )
        )

    def count_tokens(self, stage: StageName, tokens: int) -> None:
        """Tell how many response tokens this task sampled or trained on: what stages of the same
        kind are compared by, as tokens a second."""
        self.tell(
            ProgressEvent(
                type="stage_progress",
                message=f"{stage}: {tokens} tokens",
                data={"stage": stage, "tokens": tokens},
            )
        )

    def warn(self, message: str, **data: Any) -> None:
        self.tell(ProgressEvent(type="warning", level="warning", message=message, data=data))


class Runner(Protocol[Job]):
    """Spreads a stage over machines; `workers.cluster` does it with Ray, tests in one process."""

    @property
    def model_shards(self) -> int:
        """How many tasks that run the base model can go on at once."""

    @property
    def train_workers(self) -> int:
        """How many workers a training is given."""

    @property
    def sampler(self) -> "SamplerName":
        """What draws the pools."""

    def map(
        self,
        task: Callable[[TaskContext[Job], Item], Result],
        items: Sequence[Item],
        *,
        uses_model: bool,
        lost: Callable[[str], Result] | None = None,
    ) -> list[Result]:
        """The task's results in the items' order. `task` is a function of a module.

        `lost` says what counts as the result of a task whose process keeps dying, for tasks that
        run what a report brought; without it such a death is an error of the stage.
        """

    def train(self, inputs: dict[StageName, str], run_name: str) -> str:
        """Run `workers.stages.train.train_loop` on every training worker; the result's digest.

        A run of the same name goes on from its last checkpoint.
        """

    def forget_training(self, run_name: str) -> None:
        """Drop the run's checkpoints, which its result makes useless."""


@dataclass(frozen=True)
class StageContext(TaskContext[Job], Generic[Job]):
    inputs: Mapping[StageName, str]
    runner: Runner[Job]


def world_name(world: int, group_ids: Sequence[str]) -> str:
    """`grand`, or `without:<group id>`: the name of a world in events and outcomes."""
    return "grand" if world == 0 else f"without:{group_ids[world - 1]}"


def contiguous_shards(count: int, shards: int) -> list[range]:
    """`count` places cut into at most `shards` ranges of nearly equal length, none of them empty.

    >>> contiguous_shards(5, 2)
    [range(0, 3), range(3, 5)]
    """
    shards = max(1, min(shards, count))
    size, longer = divmod(count, shards)
    starts = [shard * size + min(shard, longer) for shard in range(shards + 1)]
    return [range(start, stop) for start, stop in itertools.pairwise(starts)]
