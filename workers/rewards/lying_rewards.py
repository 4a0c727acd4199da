"""The rewards of all groups as they are reported when one of them lies: for an audit's training."""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.mechanism.arrays import Floats
from workers.mechanism.audit import FittedLie, others_mean
from workers.rewards.group_rewards import GroupRewards


@dataclass(frozen=True, eq=False)
class LyingRewards:
    """As `GroupRewards`, but group `liar` tells what its lie makes of its rewards."""

    honest: GroupRewards
    liar: int
    lie: FittedLie

    def __call__(
        self, prompts: list[str], responses: list[str], groups: Sequence[int] | None = None
    ) -> Floats:
        """Rewards in [0, 1], a row for each of the groups, shape (len(groups), M).

        NaN where a reward model fails that the lie, or the group itself, depends on.
        """
        asked = list(range(len(self.honest.models))) if groups is None else list(groups)
        if self.liar not in asked:
            return self.honest(prompts, responses, asked)
        all_NM = self.honest(prompts, responses)
        told_NM = all_NM[asked]
        told_NM[asked.index(self.liar)] = self.lie(
            all_NM[self.liar], others_mean(all_NM, self.liar)
        )
        return told_NM
