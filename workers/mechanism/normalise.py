"""From a reward model's scores to rewards in [0, 1], on the scale of the training pool."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from api_schemas.errors import BadReport
from workers.mechanism.arrays import Floats, checked, checked_finite


@dataclass(frozen=True)
class ScoreRange:
    """Smallest and largest score of one group on the training pool."""

    minimum: float
    maximum: float

    @property
    def constant(self) -> bool:
        """No preference on the pool: all rewards are 0, and the group pays 0."""
        return self.minimum == self.maximum


def score_range(scores: ArrayLike, group: str) -> ScoreRange:
    """The range of a group's scores on the pool, shape (X, J).

    Raises BadReport naming the group, the prompt and the response of the first score that isn't
    finite, or if max − min overflows: such scores are never replaced by a number.
    """
    scores_XJ = _finite_scores(scores, group)
    found = ScoreRange(float(scores_XJ.min()), float(scores_XJ.max()))
    if not np.isfinite(found.maximum - found.minimum):
        raise BadReport(
            f"group {group}: scores from {found.minimum} to {found.maximum} span more than a "
            "float64 holds; scale the reward model down"
        )
    return found


def to_rewards(scores: ArrayLike, pool_range: ScoreRange, group: str) -> tuple[Floats, float]:
    """r ← (score − min)/(max − min), clipped to [0, 1], shape (X, J); and the share clipped.

    `pool_range` is the training pool's. On that pool nothing is clipped and r reaches both 0 and 1;
    on other samples the second value is the share of scores outside the pool's range. A constant
    range gives zeros. Raises BadReport as `score_range`. docs/mechanism.md §3.
    """
    scores_XJ = _finite_scores(scores, group)
    outside_XJ = (scores_XJ < pool_range.minimum) | (scores_XJ > pool_range.maximum)
    clipped_share = float(outside_XJ.mean())
    if pool_range.constant:
        return np.zeros_like(scores_XJ), clipped_share
    inside_XJ = np.clip(scores_XJ, pool_range.minimum, pool_range.maximum)
    spread = pool_range.maximum - pool_range.minimum
    return (inside_XJ - pool_range.minimum) / spread, clipped_share


def clipping_error(scores: ArrayLike, pool_range: ScoreRange) -> float:
    """ε: how far the furthest score lies outside the pool's range, in units of rewards; 0 or more.

    The reward used there differs from the reported one by as much (docs/mechanism.md §4). A
    constant report says 0 everywhere, so it has no error.
    """
    if pool_range.constant:
        return 0.0
    scores_XJ = checked_finite("scores_XJ", scores, (None, None))
    below = pool_range.minimum - float(scores_XJ.min())
    above = float(scores_XJ.max()) - pool_range.maximum
    return max(0.0, below, above) / (pool_range.maximum - pool_range.minimum)


def _finite_scores(scores: ArrayLike, group: str) -> Floats:
    scores_XJ = checked("scores_XJ", scores, (None, None))
    bad_XJ = ~np.isfinite(scores_XJ)
    if bad_XJ.any():
        prompt, response = (int(i) for i in np.argwhere(bad_XJ)[0])
        raise BadReport(
            f"group {group}: the score of response {response} to prompt {prompt} is "
            f"{scores_XJ[prompt, response]}; {int(bad_XJ.sum())} of {bad_XJ.size} are not finite"
        )
    return scores_XJ
