"""Held-out welfare per second of training on the pool, as ratios to training on rollouts.

SmolLM2 on a small pool, one world, the demo's regulariser and learning rate. Seconds are those of
steps and evaluations; the pool is drawn and scored in every round, so its cost is no method's own.
Gains are of ASW on a held-out pool over the initial model's; a method's figure is its best
evaluation's gain over the seconds until then.
"""

import time
from contextlib import closing
from typing import Any

import numpy as np
from measure import base_model, record

from api_schemas.datasets import PromptLine
from api_schemas.lexical import LexicalSpec
from api_schemas.training import NaturalGradient, PolicyGradient, PoolGradient
from client.demo.settings import PERSONAL, PLAIN
from workers.base_models import BaseModel
from workers.mechanism.arrays import Floats
from workers.mechanism.normalise import score_range
from workers.pool.pool import Pool, sample_pool
from workers.rewards.group_rewards import GroupRewards
from workers.rewards.lexical import LexicalReward
from workers.training.registry import TRAINERS
from workers.training.task import TrainingTask

PROMPTS = (
    "Give me one tip for a rainy day.",
    "What should I plant on a balcony?",
    "Suggest a simple breakfast.",
    "How can I sleep better tonight?",
    "What makes a good walk?",
    "How do I learn a song by heart?",
)
SPECS: tuple[LexicalSpec, ...] = (PERSONAL, PLAIN)
SIZES = np.array([7.0, 5.0])
POOL, HELD_OUT, TOKENS, COEFFICIENT = 16, 24, 20, 1.25
SHARED = {"steps": 8, "prompts_per_step": 3, "learning_rate": 1.2e-3, "evaluate_every": 2}


def rewards_on(pool: Pool, rewards: GroupRewards) -> Floats:
    return rewards(*pool.flat_texts()).reshape(len(SPECS), len(PROMPTS), -1)


def make_rewards(pool: Pool) -> GroupRewards:
    models = [LexicalReward(spec) for spec in SPECS]
    ranges = [
        score_range(model.score(*pool.flat_texts()).reshape(len(PROMPTS), -1), spec.type)
        for model, spec in zip(models, SPECS, strict=True)
    ]
    return GroupRewards(models, ranges)


def measured(base: BaseModel, task: TrainingTask) -> dict[str, Any]:
    """Gains by the seconds until each evaluation."""
    seconds, path = 0.0, []
    with closing(TRAINERS[task.settings.method](base, task)) as trainer:
        initial = trainer.records[0].history[0].welfare
        reports = trainer.train()
        while True:
            started = time.perf_counter()
            report = next(reports, None)
            if report is None:
                break
            seconds += time.perf_counter() - started
            if report.kind == "holdout":
                path.append({"seconds": seconds, "gain": report.welfare[0] - initial})
        steps = trainer.step
    best = max(path, key=lambda point: point["gain"])
    return {
        "seconds_a_step": seconds / steps,
        "best_gain": best["gain"],
        "seconds_until_best": best["seconds"],
        "gain_per_second": best["gain"] / best["seconds"],
        "path": path,
    }


def main() -> None:
    base = base_model()
    lines = [PromptLine(prompt=prompt) for prompt in PROMPTS]
    pool, holdout = (
        sample_pool(base, lines, samples=samples, max_new_tokens=TOKENS, labels=("bench", name))
        for name, samples in (("pool", POOL), ("holdout", HELD_OUT))
    )
    rewards = make_rewards(pool)
    figures = {}
    for settings in (PolicyGradient(**SHARED), PoolGradient(**SHARED), NaturalGradient()):
        task = TrainingTask(
            settings=settings,
            coefficient=COEFFICIENT,
            regularizer="kl",
            seed=7,
            max_new_tokens=TOKENS,
            prompts=pool.prompts,
            prompt_tokens=pool.prompt_tokens,
            prompt_weights_X=pool.prompt_weights_X,
            weights_WN=SIZES[None],
            steps_W=[settings.steps],
            score=rewards,
            pool=pool,
            pool_rewards_NXJ=rewards_on(pool, rewards),
            holdout=holdout,
            holdout_rewards_NXJ=rewards_on(holdout, rewards),
        )
        figures[settings.method] = measured(base, task)
    on_policy = figures["policy_gradient"]["gain_per_second"]
    ratios = {name: each["gain_per_second"] / on_policy for name, each in figures.items()}
    record("pool_gradient", {**figures, "ratios_of_gain_per_second": ratios})


if __name__ == "__main__":
    main()
