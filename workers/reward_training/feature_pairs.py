"""Comparisons as arrays of features. Axes: J distinct responses, F features, P pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Comparison
from workers.reward_training.embedding_cache import Vectors
from workers.reward_training.features import TextFeatures
from workers.rewards.interfaces import Progress, no_progress

Places = NDArray[np.int64]

VALIDATION_SHARE = 0.2
"""Of the training pairs, for early stopping."""


@dataclass(frozen=True, eq=False)
class FeaturePairs:
    """Features of distinct prompt-response pairs, and which two of them each comparison is of.

    `shares_P` of the votes, in [0, 1], prefer the response `chosen_P`.
    """

    features_JF: Vectors
    chosen_P: Places
    rejected_P: Places
    shares_P: Floats
    margins_P: Floats
    prompts: Sequence[str]

    @classmethod
    def of(
        cls,
        comparisons: Sequence[Comparison],
        features: TextFeatures,
        progress: Progress = no_progress,
    ) -> Self:
        """Embeds every distinct response once. Raises ValueError without a comparison."""
        if not comparisons:
            raise ValueError("no comparisons to make features of")
        places: dict[tuple[str, str], int] = {}
        for pair in comparisons:
            places.setdefault((pair.prompt, pair.chosen), len(places))
            places.setdefault((pair.prompt, pair.rejected), len(places))
        prompts, responses = zip(*places, strict=True)
        return cls(
            features_JF=features.of(prompts, responses, progress),
            chosen_P=np.array([places[pair.prompt, pair.chosen] for pair in comparisons]),
            rejected_P=np.array([places[pair.prompt, pair.rejected] for pair in comparisons]),
            shares_P=np.array([pair.share for pair in comparisons], dtype=np.float64),
            margins_P=np.array([pair.margin for pair in comparisons], dtype=np.float64),
            prompts=[pair.prompt for pair in comparisons],
        )

    def __len__(self) -> int:
        return len(self.chosen_P)

    def take(self, pairs: Places) -> "FeaturePairs":
        """Some of the pairs; all features stay."""
        return FeaturePairs(
            self.features_JF,
            self.chosen_P[pairs],
            self.rejected_P[pairs],
            self.shares_P[pairs],
            self.margins_P[pairs],
            [self.prompts[pair] for pair in pairs],
        )

    @property
    def used_J(self) -> Places:
        """The distinct responses that these pairs are of."""
        return np.unique(np.concatenate([self.chosen_P, self.rejected_P]))

    def validation(self, seed: int) -> tuple["FeaturePairs", "FeaturePairs"]:
        """A part to train on, and about a fifth, of other prompts, that says when to stop.

        Prompts are split before any pair is mirrored, else a pair would be on one side and its
        mirror on the other. Of a single prompt responses are held out instead, each with all pairs
        that it is in. What more than half of the pairs depend on stays in training.
        """
        _, prompt_P = np.unique(np.array(self.prompts, dtype=object), return_inverse=True)
        one_prompt = len(set(self.prompts)) == 1
        units_UP = np.stack([self.chosen_P, self.rejected_P]) if one_prompt else prompt_P[None]
        held_P = np.zeros(len(self), dtype=bool)
        for unit in np.random.default_rng(seed).permutation(np.unique(units_UP)):
            with_unit_P = held_P | (units_UP == unit).any(0)
            if 2 * with_unit_P.sum() <= len(self):
                held_P = with_unit_P
            if held_P.sum() >= VALIDATION_SHARE * len(self):
                break
        return self.take(np.flatnonzero(~held_P)), self.take(np.flatnonzero(held_P))


def drawn_pairs(comparisons: Sequence[Comparison], most: int, seed: int) -> Sequence[Comparison]:
    """All comparisons, or `most` of them drawn by the seed, in their own order."""
    if len(comparisons) <= most:
        return comparisons
    places = np.random.default_rng(seed).permutation(len(comparisons))[:most]
    return [comparisons[place] for place in np.sort(places)]
