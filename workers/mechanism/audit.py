"""The incentive audit: one group's report changed, the outcome valued by its true report.

Source of the strategies: docs/mechanism.md §7; SCWCD §6.
"""

import math
from dataclasses import dataclass

import numpy as np

from workers.mechanism.arrays import Floats, checked
from workers.mechanism.normalise import ScoreRange
from workers.mechanism.worlds import GRAND, PoolGame, membership, valuations, weighted_rewards

STRATEGIES = ("inflate", "deflate", "sharpen", "oppose", "spike")
_BEST = 1 - 1e-12
"""Rewards from here count as the best response's, which is 1."""


@dataclass(frozen=True)
class Lie:
    """A false report of size or rewards, made from the true one.

    `inflate`, `deflate`: size α·w. `sharpen`: r^β. `oppose`: r − β·(mean of the others' rewards).
    `spike`: 1 on the best responses, 0 elsewhere. `parameter` is α or β, and idle for `spike`.
    Raises ValueError for an unknown strategy, or a parameter that is not positive and finite.
    """

    strategy: str
    parameter: float = 1.0

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy = {self.strategy!r}, expected one of {STRATEGIES}")
        if not (math.isfinite(self.parameter) and self.parameter > 0):
            raise ValueError(f"parameter = {self.parameter} is not positive and finite")

    @property
    def of_size(self) -> bool:
        """Whether the size is what it changes; otherwise the rewards are."""
        return self.strategy in ("inflate", "deflate")

    def reported_size(self, size: int, max_size: int) -> int:
        """round(α·w), half up, at least 1 and at most the announced bound; w for other lies."""
        if not self.of_size:
            return size
        return max(1, min(max_size, math.floor(self.parameter * size + 0.5)))

    def distort(self, own: Floats, others_mean: Floats) -> Floats:
        """What it makes of rewards in [0, 1], before they are normalised again; any shape.

        `others_mean` is the mean of the other groups' rewards for the same responses.
        """
        if self.strategy == "sharpen":
            return own**self.parameter
        if self.strategy == "oppose":
            return own - self.parameter * others_mean
        if self.strategy == "spike":
            return (own >= _BEST).astype(np.float64)
        return own


@dataclass(frozen=True)
class FittedLie:
    """A lie and the range of its distorted rewards on the pool, so that it can be told elsewhere.

    Call it with rewards as `Lie.distort` takes them for the rewards in [0, 1] that it reports;
    beyond the pool's range they are clipped, and a constant one is all zeros, as of any report.
    """

    lie: Lie
    range: ScoreRange

    def __call__(self, own: Floats, others_mean: Floats) -> Floats:
        if self.range.constant:
            return np.zeros_like(own)
        low, high = self.range.minimum, self.range.maximum
        return np.clip((self.lie.distort(own, others_mean) - low) / (high - low), 0.0, 1.0)


def fit_lie(lie: Lie, own_XJ: Floats, others_mean_XJ: Floats) -> FittedLie:
    """Normalise the lie on the pool, as a report's scores are. docs/mechanism.md §3.

    A lie about the size leaves the rewards as they are.
    """
    if lie.of_size:
        return FittedLie(lie, ScoreRange(0.0, 1.0))
    told_XJ = lie.distort(own_XJ, others_mean_XJ)
    return FittedLie(lie, ScoreRange(float(told_XJ.min()), float(told_XJ.max())))


def others_mean(rewards_N: Floats, group: int) -> Floats:
    """The mean of the other groups' rewards, the first axis left out; zeros if there is none."""
    others_N = np.delete(rewards_N, group, axis=0)
    mean: Floats = others_N.mean(axis=0) if len(others_N) else np.zeros(rewards_N.shape[1:])
    return mean


@dataclass(frozen=True)
class Told:
    """What a report brings its group, by its true rewards and size; agent·reward units.

    `valuation` is per agent. `utility` = w·v − payment, `utility_without_payments` = w·v.
    """

    reported_size: int
    valuation: float
    payment: float
    utility: float
    utility_without_payments: float

    def gains(self, honest: "Told") -> dict[str, float]:
        """What the report brings beyond the honest one, with and without payments."""
        return {
            "gain": self.utility - honest.utility,
            "gain_without_payments": (
                self.utility_without_payments - honest.utility_without_payments
            ),
        }


class Replay:
    """The mechanism on the pool, played again and again with one group's report changed.

    The others' welfare and ASW*₋ᵢ are computed once; a report then costs O(X·J). `surcharge` is
    the group's under `revenue_maximizing`, which its own report can't change; None under the other
    rule.
    """

    def __init__(self, game: PoolGame, group: int, max_size: int, surcharge: float | None = None):
        if not 0 <= group < game.groups:
            raise ValueError(f"group = {group}, expected 0 to {game.groups - 1}")
        self._game, self._max_size, self._surcharge = game, max_size, surcharge
        self._own_XJ = game.rewards_NXJ[group]
        self._size = int(game.sizes_N[group])
        self._others_mean_XJ = others_mean(game.rewards_NXJ, group)
        without_WN = membership(game.groups)[1 + group : 2 + group]
        self._others_XJ = weighted_rewards(game.sizes_N, game.rewards_NXJ, without_WN)[GRAND]
        _, self._welfare_without = self._play(self._others_XJ)

    def truth(self) -> Told:
        """The true report's."""
        return self._tell(self._size, self._own_XJ)

    def tell(self, lie: Lie) -> Told | None:
        """The lie's; None if `revenue_maximizing` refuses it, as it makes the rewards constant."""
        size = lie.reported_size(self._size, self._max_size)
        fitted = fit_lie(lie, self._own_XJ, self._others_mean_XJ)
        if fitted.range.constant and self._surcharge is not None:
            return None
        return self._tell(size, fitted(self._own_XJ, self._others_mean_XJ))

    def _tell(self, size: int, told_XJ: Floats) -> Told:
        """p = ASW*₋ᵢ − ASW₋ᵢ(ψ) + surcharge, with ψ the optimum for what was told. §1."""
        checked("told_XJ", told_XJ, self._own_XJ.shape)
        valuation, others_welfare = self._play(self._others_XJ + size * told_XJ)
        payment = self._welfare_without - others_welfare + (self._surcharge or 0.0)
        worth = self._size * valuation
        return Told(size, valuation, payment, worth - payment, worth)

    def _play(self, welfare_XJ: Floats) -> tuple[float, float]:
        """Of the optimum for S: the group's true valuation, and ASW₋ᵢ.

        ASW*₋ᵢ takes this path too, so that a report that changes no choice pays exactly 0.
        """
        game, weights_X = self._game, self._game.prompt_weights_X
        best = game.divergence.maximise(game.log_q_XJ, welfare_XJ, game.coefficient)
        own_and_others_NXJ = np.stack([self._own_XJ, self._others_XJ])
        values_N = valuations(np.exp(best.log_policy_XJ), weights_X, own_and_others_NXJ)
        penalty = game.coefficient * float(weights_X @ best.divergence_X)
        return float(values_N[0]), float(values_N[1]) - penalty
