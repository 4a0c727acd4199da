"""Does Elastic Reset reach a given reward at less KL? On the enumerable model: both are exact.

Every run is the same but for its resets: 5 seeds, the grand world of three groups, a λ so small
that drift costs little. Reward and KL along a run are expectations over all responses, taken every
second step and before a reset. For each reward, as a share of what could be gained, `first` is the
KL at which a run first reaches it and `lowest` the lowest at which it does, interpolated between
evaluations; `least_possible` is that of the policy with the least KL of all with this reward.
"""

import itertools
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import record

from api_schemas.datasets import PromptLine
from api_schemas.training import ElasticReset, PolicyGradient
from workers import base_models, tiny_model
from workers.base_models import BaseModel
from workers.mechanism.tilting import expectation, tilt
from workers.plots import Curve, reward_drift_figure
from workers.pool.pool import Pool, enumerate_pool
from workers.training.policy_gradient import PolicyGradientTrainer
from workers.training.task import TrainingTask
from workers.training.train_worlds import Evaluation
from workers.training.worth import world_welfare

PROMPTS = ("red sun", "green rain", "blue sun rain", "rain rain sun")
SIZES = np.array([3.0, 7.0, 5.0])
COEFFICIENT, STEPS, SEEDS = 0.1, 160, 5
SHARES = (0.3, 0.5, 0.6, 0.7, 0.8)
FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "elastic-reset.svg"

# The announced default's average moves by 5 % between resets: it suits runs of thousands of steps.
# Fitted to this run: eight resets, and an average that looks back over half the steps between.
VARIANTS: dict[str, ElasticReset | None] = {
    "none": None,
    "elastic, default (k 10, decay 0.995)": ElasticReset(),
    "elastic (k 20, decay 0.9)": ElasticReset(every=20, decay=0.9),
    "reset_to_ema (k 20, decay 0.9)": ElasticReset(every=20, decay=0.9, mode="reset_to_ema"),
    "reset_to_init (k 20)": ElasticReset(every=20, mode="reset_to_init"),
}


def score(_prompts: list[str], responses: list[str], groups: Sequence[int]) -> np.ndarray:
    """Tastes in [0, 1]: red and sun; three words and rain; blue."""
    words = [text.split() for text in responses]
    tastes = (
        [0.6 * ("red" in each) + 0.4 * ("sun" in each) for each in words],
        [0.5 * (len(each) == 3) + 0.5 * ("rain" in each) for each in words],
        [float("blue" in each) for each in words],
    )
    return np.array([tastes[group] for group in groups])


def run(base: BaseModel, pool: Pool, seed: int, resets: ElasticReset | None) -> list[Evaluation]:
    rewards_NXJ = score(*pool.flat_texts(), range(3)).reshape(3, len(PROMPTS), -1)
    task = TrainingTask(
        settings=PolicyGradient(
            steps=STEPS,
            prompts_per_step=4,
            samples_per_prompt=8,
            learning_rate=1e-3,  # slow enough that most rewards are reached after a reset
            learning_rate_schedule="constant",
            top_layers=None,
            evaluate_every=2,
            patience=STEPS,
            elastic_reset=resets,
        ),
        coefficient=COEFFICIENT,
        regularizer="kl",
        seed=seed,
        max_new_tokens=3,
        prompts=pool.prompts,
        prompt_tokens=pool.prompt_tokens,
        prompt_weights_X=pool.prompt_weights_X,
        weights_WN=SIZES[None],
        steps_W=[STEPS],
        score=score,
        pool=pool,
        pool_rewards_NXJ=rewards_NXJ,
        holdout=pool,
        holdout_rewards_NXJ=rewards_NXJ,
    )
    with closing(PolicyGradientTrainer(base, task)) as trainer:
        for _ in trainer.train():
            pass
        return trainer.records[0].history


def crossings(
    history: Sequence[Evaluation], reward: float, resets: ElasticReset | None
) -> list[float]:
    """The KL wherever training climbs to this reward.

    Nothing is interpolated across a reset: no model of the run lies between its two sides.
    """
    found = []
    for before, after in itertools.pairwise(history):
        # A reset follows the evaluation of its step, and evaluations come every second step.
        reset = resets is not None and before.step > 0 and before.step % resets.every == 0
        if before.reward < reward <= after.reward and not reset:
            share = (reward - before.reward) / (after.reward - before.reward)
            found.append(before.divergence + share * (after.divergence - before.divergence))
    return found


def least_kl(pool: Pool, welfare_XJ: np.ndarray, reward: float) -> float:
    """Of all policies with this reward: some π ∝ q exp(S/λ), found by bisecting log λ."""

    def at(log_scale: float) -> tuple[float, float]:
        policy = tilt(pool.log_q_XJ, welfare_XJ, float(np.exp(log_scale)))
        value_X = expectation(np.exp(policy.log_policy_XJ), welfare_XJ)
        weights_X = pool.prompt_weights_X
        return float(weights_X @ value_X), float(weights_X @ policy.divergence_X)

    low, high = -7.0, 14.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[0] > reward else (low, middle)
    return at(low)[1]


def mean_and_error(values: Sequence[float]) -> dict[str, float | int | None]:
    """Over the seeds that have a value; a standard error needs two."""
    n = len(values)
    error = float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else None
    return {"seeds": n, "mean": float(np.mean(values)) if n else None, "standard_error": error}


def figures(runs: dict[str, list[list[Evaluation]]], reward: float) -> dict[str, Any]:
    """KL at this reward for each variant, and what resets save, seed by seed."""
    result: dict[str, Any] = {}
    plain = [crossings(history, reward, None) for history in runs["none"]]
    for name, histories in runs.items():
        found = [crossings(history, reward, VARIANTS[name]) for history in histories]
        both = [(a, b) for a, b in zip(plain, found, strict=True) if a and b]
        result[name] = {
            "first": mean_and_error([each[0] for each in found if each]),
            "lowest": mean_and_error([min(each) for each in found if each]),
            "first_saved": mean_and_error([a[0] - b[0] for a, b in both]),
            "lowest_saved": mean_and_error([min(a) - min(b) for a, b in both]),
        }
    return result


def mean_curve(name: str, histories: Sequence[Sequence[Evaluation]]) -> Curve:
    """Reward and KL at each evaluation, averaged over seeds."""
    divergence = np.mean([[each.divergence for each in history] for history in histories], axis=0)
    reward = np.mean([[each.reward for each in history] for history in histories], axis=0)
    return Curve(name, divergence.tolist(), reward.tolist())


def main() -> None:
    torch.set_num_threads(1)
    name = tiny_model.NAME
    base = base_models.load(name, base_models.resolve(name).revision, "cpu")
    pool = enumerate_pool(base, [PromptLine(prompt=prompt) for prompt in PROMPTS], 3)
    runs = {
        variant: [run(base, pool, seed, resets) for seed in range(SEEDS)]
        for variant, resets in VARIANTS.items()
    }
    rewards_NXJ = score(*pool.flat_texts(), range(3)).reshape(3, len(PROMPTS), -1)
    welfare_XJ = world_welfare(SIZES, rewards_NXJ)
    best = float(pool.prompt_weights_X @ welfare_XJ.max(axis=1))
    initial = runs["none"][0][0].reward
    results = {}
    for share in SHARES:
        reward = initial + share * (best - initial)
        least = {"reward": reward, "least_possible": least_kl(pool, welfare_XJ, reward)}
        results[f"{share:.0%} of the possible gain"] = {**least, **figures(runs, reward)}
    record(
        "elastic_reset",
        {"coefficient": COEFFICIENT, "steps": STEPS, "seeds": SEEDS, "kl_at_reward": results},
    )
    FIGURE.parent.mkdir(exist_ok=True)
    FIGURE.write_bytes(reward_drift_figure([mean_curve(n, h) for n, h in runs.items()]))


if __name__ == "__main__":
    main()
