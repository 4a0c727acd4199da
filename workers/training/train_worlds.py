"""Training all worlds at once: one frozen base, stacked adapters, one batch a step.

What all methods share: the order of prompts, Adam on adapters that start alike, step budgets, and
the held-out pool that decides which state of a world is its best. A method computes the gradient.

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
from workers.training.elastic_reset import ElasticResets
from workers.training.objective import clip_by_world
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
    """Reads top to bottom in `train`: gradient, step, evaluate, save."""

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
        self.optimizer = torch.optim.Adam(self.parameters, lr=task.settings.learning_rate)
        self.resets: ElasticResets | None = None
        self.holdout = ResponseLogProbs(
            self.decoder,
            self.adapters,
            task.holdout.prompt_tokens,
            task.holdout.tokens_XJT,
            task.holdout.lengths_XJ,
            keep_hidden=True,
        )
        self.step = 0
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
        settings = self.task.settings
        while self.active:
            worth = self._accumulate_gradient(self._prompts_of_step())
            report = StepReport.of(self.step + 1, worth, self.kind)
            self.shares.add_up([p.grad for p in self.parameters if p.grad is not None])
            clip_by_world(self.parameters, settings.gradient_clip)
            self._set_learning_rate()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.step += 1
            yield report
            due = self._due()
            if due:
                yield self._evaluate(due)
            # Evaluated first: a reset policy is not what training has reached.
            if self.resets is not None:
                self.resets.after_step(self.step)
            if due:
                save()

    @abstractmethod
    def _accumulate_gradient(self, prompts: list[int]) -> dict[int, Worth]:
        """Add −∇J of every active world on these prompts; their worth, over all workers."""

    def kept_tensors(self) -> dict[str, Tensor]:
        """What the next steps depend on, besides parameters and optimiser."""
        return {} if self.resets is None else self.resets.kept_tensors()

    def _set_learning_rate(self) -> None:
        """A function of the step alone, so that a resumed training needs no scheduler's state."""
        settings = self.task.settings
        left = 1 - self.step / settings.steps
        share = left if settings.learning_rate_schedule == "linear" else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * share

    def _prompts_of_step(self) -> list[int]:
        """This step's prompts: every prompt once an epoch, in an order that depends on the seed."""
        count, each = len(self.task.prompts), self.task.settings.prompts_per_step
        places = range(self.step * each, (self.step + 1) * each)
        orders = {
            epoch: np.random.default_rng(derived_seed(self.task.seed, "epoch", epoch)).permutation(
                count
            )
            for epoch in {place // count for place in places}
        }
        chosen = [int(orders[place // count][place % count]) for place in places]
        return chosen[self.shares.rank :: self.shares.size]

    def _weights_of(self, prompts: list[int]) -> np.ndarray:
        """What each prompt of a step counts, so that a step's expectation is E_x; shape (P,)."""
        weight_P = self.task.prompt_weights_X[prompts] * len(self.task.prompts)
        weight_P /= self.task.settings.prompts_per_step
        return weight_P

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
