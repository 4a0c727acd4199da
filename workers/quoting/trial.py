"""A training of the announced kind that is only tried: how much of it, and the trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from api_schemas.datasets import PromptLine
from api_schemas.training import NaturalGradient, PolicyGradient, PoolGradient
from workers.base_models import BaseModel
from workers.mechanism.arrays import Floats
from workers.pool import pool as pools
from workers.quoting.choice import spread
from workers.quoting.plan import Plan
from workers.training.registry import TRAINERS
from workers.training.task import TrainingTask
from workers.training.train_worlds import WorldsTrainer

_LEAST_SAMPLES = 2


@dataclass(frozen=True)
class Size:
    """How much a training step is tried on: models, prompts, and responses of each prompt."""

    worlds: int
    prompts: int
    responses: int

    @property
    def rows(self) -> int:
        return self.worlds * self.prompts * self.responses


def whole_size(planned: Plan) -> Size:
    """A step of the largest batch."""
    prompts = planned.step_prompts
    return Size(planned.batches[0][1], prompts, planned.step_rows // prompts)


def size_within(planned: Plan, rows: int) -> Size:
    """At most so many rows, but of each at least one, and two responses, which a step needs: fewer
    prompts than a whole step has, then fewer models, then fewer responses."""
    whole = whole_size(planned)
    prompts = max(1, min(whole.prompts, rows // (whole.worlds * whole.responses)))
    worlds = max(1, min(whole.worlds, rows // (prompts * whole.responses)))
    responses = max(_LEAST_SAMPLES, min(whole.responses, rows // (prompts * worlds)))
    return Size(worlds, prompts, responses)


def trial(base: BaseModel, planned: Plan, lines: list[PromptLine], size: Size) -> WorldsTrainer:
    """One that is about to take its first step, of three: none of them is evaluated. Its rewards
    are drawn at random, for a step takes as long with any."""
    rules = planned.rules
    few = spread(lines, size.prompts)
    chosen = [few[place % len(few)] for place in range(size.prompts)]
    settings = _shortened(rules.training.gradient, size)
    each = _LEAST_SAMPLES if isinstance(settings, PolicyGradient) else size.responses
    tokens = rules.generation.max_new_tokens
    pool = pools.sample_pool(
        base, chosen, samples=each, max_new_tokens=tokens, labels=(rules.seed, "calibration")
    )
    rewards_NXJ = np.random.default_rng(0).random((1, *pool.log_q_XJ.shape))
    task = TrainingTask(
        settings=settings,
        coefficient=rules.regularizer.coefficient,
        regularizer=rules.regularizer.type,
        seed=0,
        max_new_tokens=tokens,
        prompts=pool.prompts,
        prompt_tokens=pool.prompt_tokens,
        prompt_weights_X=pool.prompt_weights_X,
        weights_WN=np.ones((size.worlds, 1)),
        steps_W=[settings.steps] * size.worlds,
        score=_random_rewards,
        pool=pool,
        pool_rewards_NXJ=rewards_NXJ,
        holdout=pool,
        holdout_rewards_NXJ=rewards_NXJ,
    )
    return TRAINERS[settings.method](base, task)


def _shortened(
    settings: PolicyGradient | PoolGradient | NaturalGradient, size: Size
) -> PolicyGradient | PoolGradient | NaturalGradient:
    less: dict[str, Any] = {"steps": 3, "evaluate_every": 4}
    if not isinstance(settings, NaturalGradient):
        less["prompts_per_step"] = size.prompts
    if isinstance(settings, PolicyGradient):
        less["samples_per_prompt"] = size.responses
    return settings.model_copy(update=less)


def _random_rewards(prompts: list[str], responses: list[str], groups: Sequence[int]) -> Floats:
    return np.random.default_rng(0).random((len(groups), len(responses)))
