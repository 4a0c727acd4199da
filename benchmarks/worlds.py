"""What training all n + 1 worlds together costs, as a ratio to training the grand world alone."""

import time
from collections.abc import Sequence
from contextlib import closing

import numpy as np
from measure import base_model, record

from api_schemas.datasets import PromptLine
from api_schemas.training import PolicyGradient
from workers.mechanism.worlds import membership
from workers.pool.pool import sample_pool
from workers.training.policy_gradient import PolicyGradientTrainer
from workers.training.task import TrainingTask

PROMPTS = ("Give me one tip for a rainy day.", "Suggest a simple breakfast.")
TOKENS, STEPS, GROUPS = 20, 3, 3
LETTERS = "eao"


def score(_prompts: list[str], responses: list[str], groups: Sequence[int]) -> np.ndarray:
    """Each group likes a letter; scoring must cost next to nothing here."""
    return np.array([[min(text.count(LETTERS[i]), 10) / 10 for text in responses] for i in groups])


def seconds_a_step(worlds: list[int]) -> float:
    base = base_model()
    lines = [PromptLine(prompt=prompt) for prompt in PROMPTS]
    holdout = sample_pool(base, lines, samples=2, max_new_tokens=TOKENS, labels=("benchmark",))
    rewards = score(*holdout.flat_texts(), range(GROUPS)).reshape(GROUPS, len(lines), -1)
    task = TrainingTask(
        settings=PolicyGradient(steps=STEPS, prompts_per_step=2, evaluate_every=STEPS + 1),
        coefficient=1.0,
        regularizer="kl",
        seed=1,
        max_new_tokens=TOKENS,
        prompts=holdout.prompts,
        prompt_tokens=holdout.prompt_tokens,
        prompt_weights_X=holdout.prompt_weights_X,
        weights_WN=membership(GROUPS)[worlds] * np.array([3.0, 7.0, 5.0]),
        steps_W=[STEPS] * len(worlds),
        score=score,
        pool=holdout,  # not trained on by this method
        pool_rewards_NXJ=rewards,
        holdout=holdout,
        holdout_rewards_NXJ=rewards,
    )
    with closing(PolicyGradientTrainer(base, task)) as trainer:
        reports = trainer.train()
        next(reports)  # the first step warms up
        started = time.perf_counter()
        for _ in range(STEPS - 1):
            next(reports)
        return (time.perf_counter() - started) / (STEPS - 1)


def main() -> None:
    one, all_worlds = seconds_a_step([0]), seconds_a_step(list(range(GROUPS + 1)))
    record(
        "worlds",
        {
            "worlds": GROUPS + 1,
            "seconds_a_step_of_one": one,
            "seconds_a_step_of_all": all_worlds,
            "ratio": all_worlds / one,
        },
    )


if __name__ == "__main__":
    main()
