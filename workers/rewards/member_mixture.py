"""A reward model's members as the voters of one group, each on the pool's own scale.

    r(x, y) = Σ_m λ_m · (s_m(x, y) − min_m)/(max_m − min_m)

s_m are the members' scores, λ_m their mixing weights (Σ λ_m = 1), and min_m, max_m the range of
member m on the training pool. A member that is constant there has no preference and adds 0. On the
pool this is in [0, 1] and enters the round as it is: a group of w agents then weighs exactly as
groups of λ_m·w agents with the members' own rewards would; where members disagree it weighs little.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from api_schemas.errors import BadReport
from workers.mechanism.arrays import Floats
from workers.mechanism.normalise import ScoreRange, score_range
from workers.rewards.interfaces import MemberScores
from workers.rewards.registry import FittedRewardModel, derived_model


@derived_model("member_mixture")
@dataclass(frozen=True, eq=False)
class MemberMixtureReward:
    """`inner` is a model with members, `ranges` are theirs on the training pool."""

    uses_model: ClassVar[bool] = True

    inner: FittedRewardModel
    ranges: tuple[ScoreRange, ...]

    @classmethod
    def validate(cls, spec: Any) -> None:
        """No spec names it: the stage `score` makes it."""

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """The mixture, shape (len(responses),); beyond [0, 1] where members leave their ranges."""
        members = self.inner.member_scores(prompts, responses)
        if members is None:
            raise BadReport(f"reward model {self.inner.method!r} has no members")
        return mixture(members, self.ranges)

    def to_bytes(self) -> bytes:
        """A line of JSON with the ranges, then the inner model's own bytes."""
        ranges = [[each.minimum, each.maximum] for each in self.ranges]
        return json.dumps({"ranges": ranges}).encode() + b"\n" + self.inner.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        header, _, inner = data.partition(b"\n")
        ranges = tuple(ScoreRange(*each) for each in json.loads(header)["ranges"])
        return cls(FittedRewardModel.from_bytes(inner), ranges)


def mixture(members: MemberScores, ranges: Sequence[ScoreRange]) -> Floats:
    """Σ_m λ_m·(s_m − min_m)/(max_m − min_m), shape (J,); NaN where a score isn't finite."""
    total = np.zeros(members.scores_MJ.shape[1])
    for weight, scores_J, found in zip(members.weights_M, members.scores_MJ, ranges, strict=True):
        if not found.constant:
            total += weight * (scores_J - found.minimum) / (found.maximum - found.minimum)
    return np.where(np.isfinite(total), total, np.nan)


def member_ranges(scores_MXJ: Floats, group: str) -> tuple[ScoreRange, ...]:
    """Each member's range on the pool. Raises BadReport naming a member whose scores can't be."""
    return tuple(
        score_range(scores_XJ, f"{group}, member {m + 1}") for m, scores_XJ in enumerate(scores_MXJ)
    )


def largest_disagreement(
    scores_MXJ: Floats, rewards_XJ: Floats, pool_range: ScoreRange, group: str
) -> float:
    """ε = max over members, prompts and responses of |the member's reward − the one used|.

    Of the members of a group that enters by their aggregate: `rewards_XJ` is the aggregate as it is
    used, `pool_range` its range on the training pool, by which a member's scores become rewards
    too; they aren't clipped. A constant aggregate says 0 everywhere and has no scale to err on.
    Raises BadReport for a member's score that isn't finite, or is too far off for a float.
    """
    member_ranges(scores_MXJ, group)
    if pool_range.constant:
        return 0.0
    with np.errstate(over="ignore"):
        spread = pool_range.maximum - pool_range.minimum
        error = float(np.abs((scores_MXJ - pool_range.minimum) / spread - rewards_XJ).max())
    if not np.isfinite(error):
        raise BadReport(f"group {group}: a member's scores are too far from the aggregate's")
    return error
