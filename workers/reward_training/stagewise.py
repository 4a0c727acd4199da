"""Members and mixing weights that share out votes as people do, one member after another.

Axes: M members, J distinct responses, P pairs. p is the weighted share of the members so far that
prefer the chosen response of a pair, s the share of people who do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from workers.mechanism.arrays import Floats
from workers.reward_training.embedding_cache import Vectors
from workers.reward_training.feature_pairs import FeaturePairs
from workers.reward_training.heads import Loss, MlpHead, Training, train
from workers.rewards.ranks import preferred

_TEMPERATURE = 0.25
"""τ of the surrogate σ(Δ/τ) of a vote. A network chooses the scale of Δ: it changes little."""

_LEAST_STEP = 0.01
"""A member of less weight changes nothing that votes could tell."""

_TRIES = 3
"""Random starts for one step, before no further step is thought to help."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Heads, weights that sum to 1, and the heads' scores of all responses they are fitted to."""

    heads: Sequence[MlpHead]
    weights_M: Floats
    scores_MJ: Floats

    @classmethod
    def empty(cls, features_JF: Vectors) -> "Mixture":
        return cls([], np.zeros(0), np.zeros((0, len(features_JF))))

    def shares(self, pairs: FeaturePairs) -> Floats:
        """p of pairs of these responses, shape (P,); 0 without a member."""
        found: Floats = self.weights_M @ prefers(self.scores_MJ, pairs)
        return found

    def with_member(self, head: MlpHead, scores_J: Floats, step: float) -> "Mixture":
        """The new member weighs `step`, those before it share the rest as they did."""
        return Mixture(
            [*self.heads, head],
            np.append((1 - step) * self.weights_M, step),
            np.vstack([self.scores_MJ, scores_J]),
        )


def stages(
    pairs: FeaturePairs, validation: FeaturePairs, hidden: Sequence[int], settings: Training
) -> Iterator[Mixture]:
    """The mixture after each step; they end when no step lowers the validation part's error.

    A step fits a new head r to minimise the mean of ((1−α)·p + α·σ(Δ/τ) − s)², Δ = r(chosen) −
    r(rejected), with α = 1/k for the k-th member, as if all were to weigh the same. Then α becomes
    what `best_step` finds for the head's votes on the validation part.
    """
    mixture, attempts = Mixture.empty(pairs.features_JF), 0
    while True:
        for _ in range(_TRIES):
            attempts += 1
            start = replace(settings, seed=1000 * settings.seed + attempts)
            larger = _step(mixture, pairs, validation, hidden, start)
            if larger is not None:
                break
        else:
            return
        mixture = larger
        yield mixture


def prefers(scores_MJ: Floats, pairs: FeaturePairs) -> Floats:
    """1 where the chosen response scores higher, ½ where both score the same, else 0: (…, P)."""
    differences = scores_MJ[..., pairs.chosen_P] - scores_MJ[..., pairs.rejected_P]
    return preferred(differences)


def best_step(shares_P: Floats, before_P: Floats, votes_P: Floats) -> float:
    """α = Σ (s − p)(h − p) / Σ (h − p)² in [0, 1], which minimises Σ ((1−α)·p + α·h − s)².

    h are the new member's votes; α is 0 where they are all as the mixture's.
    """
    moves_P = votes_P - before_P
    length = float(moves_P @ moves_P)
    if length == 0:
        return 0.0
    return float(np.clip((shares_P - before_P) @ moves_P / length, 0.0, 1.0))


def _step(
    mixture: Mixture,
    pairs: FeaturePairs,
    validation: FeaturePairs,
    hidden: Sequence[int],
    settings: Training,
) -> Mixture | None:
    """The mixture with one more head; None if that doesn't lower the validation part's error."""
    head = MlpHead.new(pairs.features_JF[pairs.used_J], hidden, settings.seed)
    train(head, pairs, validation, _surrogate(mixture), settings)
    scores_J = head.scores(pairs.features_JF)
    if not mixture.heads:
        return mixture.with_member(head, scores_J, 1.0)
    step = best_step(validation.shares_P, mixture.shares(validation), prefers(scores_J, validation))
    larger = mixture.with_member(head, scores_J, step)
    helps = step >= _LEAST_STEP and _error(larger, validation) < _error(mixture, validation)
    return larger if helps else None


def _error(mixture: Mixture, pairs: FeaturePairs) -> float:
    return float(np.mean((mixture.shares(pairs) - pairs.shares_P) ** 2))


def _surrogate(mixture: Mixture) -> Loss:
    """The squared error as a loss that is differentiable in the new head's scores."""
    step = 1 / (len(mixture.heads) + 1)

    def loss(pairs: FeaturePairs, chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
        votes_P = torch.sigmoid((chosen_P - rejected_P) / _TEMPERATURE)
        missing = pairs.shares_P - (1 - step) * mixture.shares(pairs)
        return (step * votes_P - torch.as_tensor(missing, dtype=votes_P.dtype)).square().mean()

    return loss
