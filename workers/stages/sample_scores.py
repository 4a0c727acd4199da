"""What a reward model says of sample responses, as a person looks at it."""

from dataclasses import dataclass

import numpy as np

from api_schemas.previews import Histogram, ScoredResponse, ScoredSamples
from api_schemas.reward_models import Members
from workers.mechanism.arrays import Floats
from workers.mechanism.normalise import ScoreRange, score_range, to_rewards
from workers.pool.pool import Pool
from workers.rewards.member_mixture import member_ranges, mixture
from workers.rewards.registry import FittedRewardModel

BINS = 10
SHOWN = 5
"""Of the best responses, and as many of the worst."""
_OUTLIER_REWARD = 0.2
_OUTLIER_QUANTILE = 0.95
_FEW_SCORES = 3


@dataclass(frozen=True, eq=False)
class SampleScores:
    """Scores of J responses to each of X prompts, and the rewards on the samples' own range."""

    scores_XJ: Floats
    range: ScoreRange
    rewards_XJ: Floats

    def shown(self, pool: Pool) -> ScoredSamples:
        return ScoredSamples(
            minimum=self.range.minimum,
            maximum=self.range.maximum,
            mean_score=float(self.scores_XJ.mean()),
            mean_reward=float(self.rewards_XJ.mean()),
            histogram=self._histogram(),
            best=self._extremes(pool, best=True),
            worst=self._extremes(pool, best=False),
        )

    def warnings(self) -> list[str]:
        """What makes a report say less than its author may think."""
        if self.range.constant:
            return [
                f"every sample has the score {self.range.minimum:.6g}: the report says that all "
                "responses are worth the same, so it changes nothing and pays nothing"
            ]
        found = []
        different = len(np.unique(self.scores_XJ))
        if different <= _FEW_SCORES:
            found.append(f"the samples have only {different} different scores")
        most = float(np.quantile(self.rewards_XJ, _OUTLIER_QUANTILE))
        if most < _OUTLIER_REWARD:
            found.append(
                f"95 % of the rewards are below {most:.3g}: a few responses with very high scores "
                "set the scale, and the others hardly differ on it"
            )
        least = float(np.quantile(self.rewards_XJ, 1 - _OUTLIER_QUANTILE))
        if least > 1 - _OUTLIER_REWARD:
            found.append(
                f"95 % of the rewards are above {least:.3g}: a few responses with very low scores "
                "set the scale, and the others hardly differ on it"
            )
        return found

    def _histogram(self) -> Histogram:
        """Of rewards, which all lie in [0, 1]."""
        counts, edges = np.histogram(self.rewards_XJ, bins=BINS, range=(0.0, 1.0))
        return Histogram(edges=edges.tolist(), counts=counts.tolist())

    def _extremes(self, pool: Pool, *, best: bool) -> list[ScoredResponse]:
        """The different responses at one end, each with its prompt; of equal ones the first."""
        prompts, responses = pool.flat_texts()
        scores, rewards = self.scores_XJ.flatten(), self.rewards_XJ.flatten()
        order = np.argsort(-scores if best else scores, kind="stable")
        found: dict[tuple[str, str], ScoredResponse] = {}
        for place in map(int, order):
            pair = prompts[place], responses[place]
            if pair not in found:
                found[pair] = ScoredResponse(
                    prompt=pair[0],
                    response=pair[1],
                    score=float(scores[place]),
                    reward=float(rewards[place]),
                )
            if len(found) == SHOWN:
                break
        return list(found.values())


def score_samples(
    model: FittedRewardModel, pool: Pool, group_id: str, members: Members
) -> SampleScores:
    """Scored and normalised as stage `score` does it, with the samples in the place of the pool.

    Raises BadReport for scores that aren't finite, and whatever the model raises.
    """
    shape = pool.lengths_XJ.shape
    scores, of_members = model.score_with_members(*pool.flat_texts())
    if members == "mixture" and of_members is not None:
        ranges = member_ranges(of_members.scores_MJ.reshape(-1, *shape), group_id)
        found, scores_XJ = ScoreRange(0.0, 1.0), mixture(of_members, ranges).reshape(shape)
    else:
        scores_XJ = scores.reshape(shape)
        found = score_range(scores_XJ, group_id)
        if of_members is not None:
            member_ranges(of_members.scores_MJ.reshape(-1, *shape), group_id)
    rewards_XJ, _ = to_rewards(scores_XJ, found, group_id)
    return SampleScores(scores_XJ, found, rewards_XJ)
