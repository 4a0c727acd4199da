"""What all n + 1 worlds cost, as a ratio to the grand world alone: same model, pool and steps.

From the announcement to the adapters: pool and held-out pool drawn and scored, then trained. The
ratios of training alone, which share no rollouts with what came before, stand beside them. Naive
cost is n + 1 of everything. And what the n payments of `closed_form` add to the grand world.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from measure import base_model, record

from api_schemas.datasets import PromptLine
from api_schemas.training import NaturalGradient, PolicyGradient, PoolGradient
from workers.base_models import BaseModel
from workers.mechanism import closed_form, payments
from workers.mechanism.worlds import PoolGame, membership
from workers.pool.pool import Pool, sample_pool
from workers.training.registry import TRAINERS
from workers.training.task import TrainingTask

PROMPTS = (
    "Give me one tip for a rainy day.",
    "Suggest a simple breakfast.",
    "How can I sleep better tonight?",
    "What makes a good walk?",
    "What should I plant on a balcony?",
    "How do I learn a song by heart?",
    "Name a good hobby.",
    "What is a healthy snack?",
)
POOL, HELD_OUT, TOKENS, COEFFICIENT = 16, 8, 24, 1.0
LETTERS = "eaotinsr"
SIZES = np.array([3.0, 7.0, 5.0, 2.0, 4.0, 6.0, 1.0, 8.0])
GROUPS = len(SIZES)
Settings = NaturalGradient | PoolGradient | PolicyGradient
METHODS: tuple[Settings, ...] = (
    NaturalGradient(patience=1000),
    PoolGradient(steps=2, prompts_per_step=2, evaluate_every=2),
    PolicyGradient(steps=2, prompts_per_step=2, samples_per_prompt=4, evaluate_every=2),
)


def score(_prompts: list[str], responses: list[str], groups: Sequence[int]) -> np.ndarray:
    """Each group likes a letter; scoring must cost next to nothing here."""
    return np.array([[min(text.count(LETTERS[i]), 10) / 10 for text in responses] for i in groups])


def rewards_on(pool: Pool) -> np.ndarray:
    return score(*pool.flat_texts(), range(GROUPS)).reshape(GROUPS, len(PROMPTS), -1)


def drawn(base: BaseModel) -> tuple[Pool, Pool]:
    lines = [PromptLine(prompt=prompt) for prompt in PROMPTS]
    pool, holdout = (
        sample_pool(base, lines, samples=samples, max_new_tokens=TOKENS, labels=("worlds", name))
        for name, samples in (("pool", POOL), ("holdout", HELD_OUT))
    )
    return pool, holdout


def training_task(settings: Settings, pools: tuple[Pool, Pool], worlds: list[int]) -> TrainingTask:
    pool, holdout = pools
    return TrainingTask(
        settings=settings,
        coefficient=COEFFICIENT,
        regularizer="kl",
        seed=1,
        max_new_tokens=TOKENS,
        prompts=pool.prompts,
        prompt_tokens=pool.prompt_tokens,
        prompt_weights_X=pool.prompt_weights_X,
        weights_WN=membership(GROUPS)[worlds] * SIZES,
        steps_W=[settings.steps] * len(worlds),
        score=score,
        pool=pool,
        pool_rewards_NXJ=rewards_on(pool),
        holdout=holdout,
        holdout_rewards_NXJ=rewards_on(holdout),
    )


def trained(base: BaseModel, task: TrainingTask) -> tuple[float, list[float]]:
    """Seconds, and the held-out gain of each world."""
    started = time.perf_counter()
    with closing(TRAINERS[task.settings.method](base, task)) as trainer:
        for _ in trainer.train():
            pass
        gains = [record.best_welfare - record.history[0].welfare for record in trainer.records]
    return time.perf_counter() - started, gains


def payment_seconds(pools: tuple[Pool, Pool]) -> float:
    """All n payments, from the rewards."""
    started = time.perf_counter()
    pool = pools[0]
    game = PoolGame(
        log_q_XJ=pool.log_q_XJ,
        prompt_weights_X=pool.prompt_weights_X,
        coefficient=COEFFICIENT,
        regularizer="kl",
        sizes_N=SIZES,
        rewards_NXJ=rewards_on(pool),
    )
    payments.affine_maximizer(game.sizes_N, closed_form.solve(game).values)
    return time.perf_counter() - started


def compared(base: BaseModel, settings: Settings, pools: tuple[Pool, Pool], before: float) -> Any:
    one, gains = trained(base, training_task(settings, pools, [0]))
    every, all_gains = trained(base, training_task(settings, pools, list(range(GROUPS + 1))))
    return {
        "seconds_of_one": before + one,
        "seconds_of_all": before + every,
        "ratio": (before + every) / (before + one),
        "ratio_of_training_alone": every / one,
        "gain_of_one": gains[0],
        "gains_of_all": all_gains,
    }


def main() -> None:
    base = base_model()
    drawn(base)  # warms up
    started = time.perf_counter()
    pools = drawn(base)
    before = time.perf_counter() - started
    figures = {each.method: compared(base, each, pools, before) for each in METHODS}
    grand = figures["natural_gradient"]["seconds_of_one"]
    record(
        "worlds",
        {
            "worlds": GROUPS + 1,
            "seconds_of_the_pool": before,
            **figures,
            "ratio_of_closed_form_payments": 1 + payment_seconds(pools) / grand,
        },
    )


if __name__ == "__main__":
    main()
