"""The rewards of all groups for new responses, on the scale of the pool they were reported on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.mechanism.arrays import Floats
from workers.mechanism.normalise import ScoreRange
from workers.rewards.registry import FittedRewardModel


@dataclass(frozen=True, eq=False)
class GroupRewards:
    """Every group's reward model with the score range of the pool. Call it to score.

    Only the reward models of the `groups` that are asked for see the responses; None asks all.
    """

    models: Sequence[FittedRewardModel]
    ranges: Sequence[ScoreRange]

    def __call__(
        self, prompts: list[str], responses: list[str], groups: Sequence[int] | None = None
    ) -> Floats:
        """Rewards in [0, 1], a row for each of the groups, shape (len(groups), M).

        NaN where a model fails or its score isn't finite. Scores outside the pool's range are
        clipped (docs/mechanism.md §3).
        """
        return np.clip(self.unclipped(prompts, responses, groups), 0.0, 1.0)

    def unclipped(
        self, prompts: list[str], responses: list[str], groups: Sequence[int] | None = None
    ) -> Floats:
        """As a call, before clipping; what lies outside [0, 1] is outside the pool's range."""
        asked = range(len(self.models)) if groups is None else groups
        return np.stack(
            [_rewards(self.models[i], self.ranges[i], prompts, responses) for i in asked]
        )


def _rewards(
    model: FittedRewardModel, found: ScoreRange, prompts: list[str], responses: list[str]
) -> Floats:
    if found.constant:
        return np.zeros(len(responses))
    try:
        scores_M = model.score(prompts, responses)
    except Exception:  # a reward model may fail in any way: NaN says so, and is never valued
        return np.full(len(responses), np.nan)
    rewards_M = (scores_M - found.minimum) / (found.maximum - found.minimum)
    return np.where(np.isfinite(rewards_M), rewards_M, np.nan)
