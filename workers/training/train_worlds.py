"""Training all worlds at once: one frozen base, stacked adapters, one batch a step.

What all methods share: adapters that start alike, step budgets, and the held-out pool that decides
which state of a world is its best. A method takes the steps.

The batch of a step depends on the announced budgets alone. A world that stops for want of progress
keeps its rows, idle, until its budget ends: batches of another shape round differently, and through
them what group i reports could reach the world without i.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.randomness import derived_seed
from workers.training.shares import Alone, Shares
from workers.training.stacked_lora import StackedAdapters
from workers.training.task import TrainingTask
from workers.training.worth import Worth, world_welfare, worth_on_pool


@dataclass(frozen=True)
class Evaluation(Worth):
    """What a world was worth on the held-out pool after a step."""

    step: int


@dataclass
class WorldRecord:
    """How far one world has come, judged on the held-out pool.

    `history` starts with the initial model, at step 0. `best_state` is None while nothing has been
    better than that. `checkpoints` holds the state of every evaluation, where the task asks for it.
    """

    best_welfare: float
    best_step: int = 0
    best_state: dict[str, Tensor] | None = None
    misses: int = 0
    stopped: bool = False
    history: list[Evaluation] = field(default_factory=list)
    checkpoints: list[tuple[int, dict[str, Tensor]]] = field(default_factory=list)


@dataclass(frozen=True)
class StepReport:
    """The worth of each world that took part in a step, judged on what `kind` says.

    "rollouts": the responses that the step drew; "pool": the step's prompts on the pool;
    "holdout": the held-out pool. Welfare and reward in agent·reward units.
    """

    step: int
    worlds: list[int]
    welfare: list[float]
    reward: list[float]
    divergence: list[float]
    kind: str

    @classmethod
    def of(cls, step: int, worth: dict[int, Worth], kind: str) -> "StepReport":
        return cls(
            step=step,
            worlds=list(worth),
            welfare=[each.welfare for each in worth.values()],
            reward=[each.reward for each in worth.values()],
            divergence=[each.divergence for each in worth.values()],
            kind=kind,
        )


class WorldsTrainer(ABC):
    """Reads top to bottom in `train`: step, evaluate, save."""

    kind: ClassVar[str]
    """What the method's step reports are judged on."""

    def __init__(self, base: BaseModel, task: TrainingTask, shares: Shares | None = None):
        self.base, self.task, self.shares = base, task, shares or Alone()
        self.decoder = Decoder(base.model)
        self.adapters = StackedAdapters.announced(
            base.model,
            task.settings,
            worlds=task.worlds,
            seed=derived_seed(task.seed, "adapters"),
        )
        self.parameters = self.adapters.parameters_by_world()
        self.optimizer: torch.optim.Optimizer | None = None
        self.holdout = ResponseLogProbs(
            self.decoder,
            self.adapters,
            task.holdout.prompt_tokens,
            task.holdout.tokens_XJT,
            task.holdout.lengths_XJ,
            keep_hidden=True,
        )
        self.step = 0
        self.tokens = 0
        """Response tokens that this worker trained on since it started; by worlds, unless one pass
        serves them all."""
        self._base_log_probs_XJ: Tensor | None = None
        unchanged_XJ = np.zeros(task.holdout.log_q_XJ.shape)
        self.records = []
        for world in range(task.worlds):
            initial = _at(0, self._held_out_worth(world, unchanged_XJ))
            self.records.append(WorldRecord(initial.welfare, history=[initial]))

    @property
    def running(self) -> list[int]:
        """The worlds in the next step's batch: announced, whatever the reports are."""
        return [world for world, steps in enumerate(self.task.steps_W) if self.step < steps]

    @property
    def active(self) -> list[int]:
        """The worlds that still train."""
        return [world for world in self.running if not self.records[world].stopped]

    def close(self) -> None:
        """Give the base model, which others may use, its own layers back."""
        self.adapters.close()

    def train(self, save: Callable[[], None] = lambda: None) -> Iterator[StepReport]:
        """Run to the announced steps or until no world improves; yields a report a step."""
        while self.active:
            report = StepReport.of(self.step + 1, self._advance(), self.kind)
            self.step += 1
            yield report
            due = self._due()
            if due:
                yield self._evaluate(due)
            self._after_evaluation()
            if due:
                save()

    @abstractmethod
    def _advance(self) -> dict[int, Worth]:
        """Move every active world by one step; what each is worth, over all workers."""

    def _after_evaluation(self) -> None:  # noqa: B027  # most methods do nothing here
        """What a method does to the policies once they have been judged."""

    def kept_tensors(self) -> dict[str, Tensor]:
        """What the next steps depend on, besides parameters and optimiser."""
        return {}

    def _due(self) -> list[int]:
        """The worlds to evaluate after this step: at intervals, and at the end of their budget."""
        regular = self.step % self.task.settings.evaluate_every == 0
        steps_W = enumerate(self.task.steps_W)
        return [w for w, steps in steps_W if self.step == steps or (regular and self.step < steps)]

    def _evaluate(self, due: list[int]) -> StepReport:
        """Value worlds on the held-out pool; keep the best, stop those that stay or are through."""
        mine = list(range(len(self.task.holdout.prompts)))[self.shares.rank :: self.shares.size]
        if self._base_log_probs_XJ is None:
            self._base_log_probs_XJ = self.holdout([None], mine)[0]
        log_ratio_KXJ = self.holdout(list(due), mine) - self._base_log_probs_XJ
        self.shares.add_up([log_ratio_KXJ])
        worth: dict[int, Worth] = {
            world: self._held_out_worth(world, log_ratio_XJ)
            for world, log_ratio_XJ in zip(due, log_ratio_KXJ.numpy(), strict=True)
            if not self.records[world].stopped
        }
        for world, each in worth.items():
            self._judge(world, _at(self.step, each))
        return StepReport.of(self.step, worth, "holdout")

    def _held_out_worth(self, world: int, log_ratio_XJ: np.ndarray) -> Worth:
        task = self.task
        return worth_on_pool(
            log_ratio_XJ,
            task.holdout.log_q_XJ,
            task.prompt_weights_X,
            world_welfare(task.weights_WN[world], task.holdout_rewards_NXJ),
            task.coefficient,
            task.regularizer,
        )

    def _judge(self, world: int, found: Evaluation) -> None:
        record, finite = self.records[world], math.isfinite(found.welfare)
        record.history.append(found)
        state = self.adapters.world_state(world)
        if self.task.keep_checkpoints and finite:
            record.checkpoints.append((self.step, state))
        if found.welfare > record.best_welfare:
            record.best_welfare, record.best_step = found.welfare, self.step
            record.best_state, record.misses = state, 0
        else:
            record.misses += 1
        stayed = record.misses >= self.task.settings.patience
        record.stopped = stayed or not finite or self.step >= self.task.steps_W[world]


def _at(step: int, worth: Worth) -> Evaluation:
    return Evaluation(worth.welfare, worth.reward, worth.divergence, step)
