"""What is trained: the rewards of each world, the pools, and the announced settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from api_schemas.training import NaturalGradient, PolicyGradient, PoolGradient
from workers.mechanism.arrays import Floats, checked, refuse_where
from workers.pool.pool import Pool


class ScoreResponses(Protocol):
    """The groups' reward models, on the scale of the pool."""

    def __call__(self, prompts: list[str], responses: list[str], groups: Sequence[int]) -> Floats:
        """Rewards by these groups alone, shape (len(groups), M); NaN where one fails."""


@dataclass(frozen=True)
class TrainingTask:
    """W worlds to train on X prompts, on the rewards of n groups.

    `coefficient`: λ, agent·reward units per unit of the divergence `regularizer` ("kl" or "l2").
    `weights_WN`: w_i where group i counts in the world, else 0: nothing of that group is then read.
    `steps_W`: how many steps each world trains; the learning rate falls as over `settings.steps`.
    `pool` and its rewards are what pool_gradient and natural_gradient train on. The held-out pool
    decides which state of a world is its best and when it stops, and nothing else.
    `keep_checkpoints`: keep the state of every held-out evaluation, not of the best one only.
    Raises ValueError for shapes that disagree, a world nobody counts in, or an impossible budget.
    """

    settings: PolicyGradient | PoolGradient | NaturalGradient
    coefficient: float
    regularizer: str
    seed: int
    max_new_tokens: int
    prompts: list[str]
    prompt_tokens: list[list[int]]
    prompt_weights_X: np.ndarray
    weights_WN: np.ndarray
    steps_W: list[int]
    score: ScoreResponses
    pool: Pool
    pool_rewards_NXJ: np.ndarray
    holdout: Pool
    holdout_rewards_NXJ: np.ndarray
    keep_checkpoints: bool = False

    def __post_init__(self) -> None:
        weights_WN = checked("weights_WN", self.weights_WN, (None, None))
        refuse_where("weights_WN", weights_WN, ~(weights_WN >= 0), "is no weight")
        if not weights_WN.any(axis=1).all():
            raise ValueError(f"weights_WN has a world without any group: {weights_WN.tolist()}")
        prompts, groups = len(self.prompts), weights_WN.shape[1]
        checked("prompt_weights_X", self.prompt_weights_X, (prompts,))
        checked("pool_rewards_NXJ", self.pool_rewards_NXJ, (groups, *self.pool.log_q_XJ.shape))
        checked(
            "holdout_rewards_NXJ", self.holdout_rewards_NXJ, (groups, *self.holdout.log_q_XJ.shape)
        )
        if len(self.pool.prompts) != prompts or len(self.prompt_tokens) != prompts:
            raise ValueError(
                f"{prompts} prompts, {len(self.prompt_tokens)} of them as tokens, "
                f"{len(self.pool.prompts)} in the pool"
            )
        within = [1 <= steps <= self.settings.steps for steps in self.steps_W]
        if len(self.steps_W) != len(weights_WN) or not all(within):
            raise ValueError(
                f"steps_W = {self.steps_W}, expected {len(weights_WN)} budgets from 1 to "
                f"{self.settings.steps}"
            )

    @property
    def worlds(self) -> int:
        return len(self.weights_WN)

    def groups(self, world: int) -> list[int]:
        """The groups that count in a world."""
        return [int(group) for group in np.flatnonzero(self.weights_WN[world])]
