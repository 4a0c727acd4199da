"""Trainings by many small steps: the order of prompts, Adam, the learning rate, the clip."""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from api_schemas.training import PolicyGradient, PoolGradient
from workers.base_models import BaseModel
from workers.pool.randomness import derived_seed
from workers.training.elastic_reset import ElasticResets
from workers.training.objective import clip_by_world
from workers.training.shares import Shares
from workers.training.task import TrainingTask
from workers.training.train_worlds import WorldsTrainer
from workers.training.worth import Worth


class GradientTrainer(WorldsTrainer):
    """A method computes the gradient; `_advance` takes the step."""

    def __init__(self, base: BaseModel, task: TrainingTask, shares: Shares | None = None):
        if not isinstance(task.settings, PolicyGradient | PoolGradient):
            raise ValueError(f"{task.settings.method!r} announces no small steps")
        super().__init__(base, task, shares)
        self.step_settings: PolicyGradient | PoolGradient = task.settings
        self.optimizer = torch.optim.Adam(self.parameters, lr=task.settings.learning_rate)
        self.resets: ElasticResets | None = None

    def _advance(self) -> dict[int, Worth]:
        assert self.optimizer is not None
        worth = self._accumulate_gradient(self._prompts_of_step())
        self.shares.add_up([p.grad for p in self.parameters if p.grad is not None])
        clip_by_world(self.parameters, self.step_settings.gradient_clip)
        self._set_learning_rate(self.optimizer)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return worth

    @abstractmethod
    def _accumulate_gradient(self, prompts: list[int]) -> dict[int, Worth]:
        """Add −∇J of every active world on these prompts; their worth, over all workers."""

    def _after_evaluation(self) -> None:
        """Evaluated first: a reset policy is not what training has reached."""
        if self.resets is not None:
            self.resets.after_step(self.step)

    def kept_tensors(self) -> dict[str, Tensor]:
        return {} if self.resets is None else self.resets.kept_tensors()

    def _set_learning_rate(self, optimizer: torch.optim.Optimizer) -> None:
        """A function of the step alone, so that a resumed training needs no scheduler's state."""
        settings = self.step_settings
        left = 1 - self.step / settings.steps
        share = left if settings.learning_rate_schedule == "linear" else 1.0
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * share

    def _prompts_of_step(self) -> list[int]:
        """This step's prompts: every prompt once an epoch, in an order that depends on the seed."""
        count, each = len(self.task.prompts), self.step_settings.prompts_per_step
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
        weight_P /= self.step_settings.prompts_per_step
        return weight_P
