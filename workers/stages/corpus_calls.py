"""The language models of a corpus: its recorded calls, its budget, and what is told of both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from api_schemas.errors import TruthtuneError
from api_schemas.jobs import CorpusJobInput, ProgressEvent, StageName
from api_schemas.language_models import LanguageModelSpec, LocalModel, Spent
from workers.corpora.questions import Telling
from workers.language_models.call_book import CallBook
from workers.language_models.chat import ChatRequest, LanguageModel, Reply
from workers.language_models.meter import Meter
from workers.language_models.opening import open_model
from workers.stages.context import TaskContext

_STEPS_TOLD = 20


def uses_model(job: CorpusJobInput, specs: Sequence[LanguageModelSpec]) -> bool:
    """Whether a task with these models must have a base model's room; a replay runs none."""
    return job.replay_calls is None and any(isinstance(each, LocalModel) for each in specs)


class CorpusCalls:
    """One task's. All stages of a corpus share the book and the budget: none buys what another
    has, and a run that stopped buys only what is missing.
    """

    def __init__(self, context: TaskContext[CorpusJobInput], stage: StageName):
        job = context.job
        self._context, self._stage = context, stage
        if job.replay_calls is None:
            self.calls = CallBook(context.artifacts, job.corpus_id)
        else:
            self.calls = CallBook.replaying(context.artifacts, job.replay_calls)
        self._meter = Meter(job.settings.budget, already=self.calls.spent)
        self._told: dict[str, int] = {}

    @property
    def spent(self) -> Spent:
        return self._meter.spent

    @property
    def telling(self) -> Telling:
        return Telling(self.progress, self._context.warn)

    def open(self, spec: LanguageModelSpec) -> LanguageModel:
        model = open_model(
            spec,
            revisions=self._context.job.base_models,
            endpoints=self._context.endpoints,
            calls=self.calls,
            meter=self._meter,
        )
        return _Accounted(model, self)

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tells every twentieth of each thing that is counted, its end, and what is spent."""
        step = done * _STEPS_TOLD // max(1, total)
        if self._told.get(unit) != step:
            self._told[unit] = step
            counted = {"done": done, "total": total, "unit": unit}
            self._tell(f"{done} of {total} {unit}", **counted)

    def conclude(self, found: str) -> None:
        """Tells what the stage found, and what was spent."""
        self._tell(found)

    def stopped(self) -> None:
        """Tells what was spent by a run that can't go on: its new budget is judged by that."""
        self._tell("stopped")

    def _tell(self, message: str, **data: Any) -> None:
        data |= {"stage": self._stage, "spent": self.spent.model_dump(mode="json")}
        self._context.tell(
            ProgressEvent(type="stage_progress", message=f"{self._stage}: {message}", data=data)
        )


@dataclass(frozen=True)
class _Accounted:
    """A model that tells what is spent before it raises."""

    model: LanguageModel
    calls: CorpusCalls

    @property
    def identity(self) -> str:
        return self.model.identity

    def complete(
        self, requests: Sequence[ChatRequest], done: Callable[[int], None] | None = None
    ) -> list[Reply]:
        try:
            return self.model.complete(requests, done)
        except TruthtuneError:
            self.calls.stopped()
            raise
