"""A training task of three groups on the enumerable model, without a round around it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from api_schemas.datasets import PromptLine
from api_schemas.training import PolicyGradient, PoolGradient
from workers import base_models, tiny_model
from workers.base_models import BaseModel
from workers.mechanism.regularizers import REGULARIZERS
from workers.mechanism.worlds import membership
from workers.pool.pool import Pool, enumerate_pool
from workers.training.registry import TRAINERS
from workers.training.task import TrainingTask
from workers.training.train_worlds import WorldsTrainer
from workers.training.worth import world_welfare

PROMPTS = ("red sun", "green rain", "blue sun rain", "rain rain sun")
SIZES = np.array([3.0, 7.0, 5.0])
QUICK = {
    "steps": 8,
    "prompts_per_step": 4,
    "learning_rate": 0.005,
    "evaluate_every": 2,
    "patience": 100,
    "top_layers": None,
}


@dataclass
class Tastes:
    """Scores and remembers who was asked about what; `failing` groups' rewards are NaN."""

    failing: tuple[int, ...] = ()
    asked: list[tuple[list[int], list[str]]] = field(default_factory=list)

    def __call__(
        self, prompts: list[str], responses: list[str], groups: Sequence[int]
    ) -> np.ndarray:
        self.asked.append((list(groups), responses))
        return np.array([self._reward(group, responses) for group in groups])

    def _reward(self, group: int, responses: list[str]) -> np.ndarray:
        if group in self.failing:
            return np.full(len(responses), np.nan)
        words = [text.split() for text in responses]
        tastes = (
            [0.6 * ("red" in each) + 0.4 * ("sun" in each) for each in words],
            [0.5 * (len(each) == 3) + 0.5 * ("rain" in each) for each in words],
            [float("blue" in each) for each in words],
        )
        return np.array(tastes[group])


@cache
def tiny_base() -> BaseModel:
    name = tiny_model.NAME
    return base_models.load(name, base_models.resolve(name).revision, "cpu")


@cache
def tiny_pool() -> Pool:
    return enumerate_pool(tiny_base(), [PromptLine(prompt=prompt) for prompt in PROMPTS], 3)


def policy_gradient(**changes: Any) -> PolicyGradient:
    return PolicyGradient.model_validate({**QUICK, "samples_per_prompt": 16, **changes})


def pool_gradient(**changes: Any) -> PoolGradient:
    return PoolGradient.model_validate({**QUICK, **changes})


def tiny_task(
    settings: PolicyGradient | PoolGradient, *, score: Tastes | None = None, **changes: Any
) -> TrainingTask:
    """All four worlds, on the whole output space; the pools' rewards are what `score` says."""
    pool, score = tiny_pool(), score or Tastes()
    rewards_NXJ = score(*pool.flat_texts(), range(3)).reshape(3, len(PROMPTS), -1)
    score.asked.clear()
    fields = {
        "settings": settings,
        "coefficient": 2.0,
        "regularizer": "kl",
        "seed": 1,
        "max_new_tokens": 3,
        "prompts": pool.prompts,
        "prompt_tokens": pool.prompt_tokens,
        "prompt_weights_X": pool.prompt_weights_X,
        "weights_WN": membership(3) * SIZES,
        "score": score,
        "pool": pool,
        "pool_rewards_NXJ": rewards_NXJ,
        "holdout": pool,
        "holdout_rewards_NXJ": rewards_NXJ,
        **changes,
    }
    return TrainingTask(**{"steps_W": [settings.steps] * len(fields["weights_WN"]), **fields})


@contextmanager
def training(task: TrainingTask, **options: Any) -> Iterator[WorldsTrainer]:
    trainer = TRAINERS[task.settings.method](tiny_base(), task, **options)
    try:
        yield trainer
    finally:
        trainer.close()


def shares_of_the_possible_gain(trainer: WorldsTrainer) -> list[float]:
    """How much of ASW* − ASW(π₀) each world's best state has reached, by exact expectations."""
    task, shares = trainer.task, []
    for weights_N, record in zip(task.weights_WN, trainer.records, strict=True):
        welfare_XJ = world_welfare(weights_N, task.holdout_rewards_NXJ)
        optimum = REGULARIZERS[task.regularizer].maximise(
            task.holdout.log_q_XJ, welfare_XJ, task.coefficient
        )
        best = float(task.prompt_weights_X @ optimum.welfare_X)
        initial = record.history[0].welfare
        shares.append((record.best_welfare - initial) / (best - initial))
    return shares
