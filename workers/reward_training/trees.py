"""Gradient-boosted trees on features: LightGBM as a classifier of single responses."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from workers.mechanism.arrays import Floats
from workers.reward_training.embedding_cache import Vectors
from workers.reward_training.feature_pairs import FeaturePairs
from workers.reward_training.heads import History

_SETTINGS = {
    "objective": "cross_entropy",  # takes labels in [0, 1]: shares of votes
    "learning_rate": 0.05,
    "num_leaves": 4,
    "feature_fraction": 0.05,  # embeddings have hundreds of features, each with a little to say
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
_LEAF_ROWS = 20
"""Responses in a leaf at least; a tenth of fewer than 200, else little data would give no tree."""

_PATIENCE_TREES = 30
"""Trees without progress before it stops: a tree is far less than an epoch of a network."""


@dataclass(frozen=True)
class TreesHead:
    """The trees as LightGBM's text. They are always read from it, so that saving changes nothing.

    A score is the log odds that a response is one that is chosen.
    """

    text: str

    @classmethod
    def fit(
        cls, pairs: FeaturePairs, validation: FeaturePairs, trees: int, seed: int
    ) -> tuple[Self, History]:
        """At most `trees` trees, as many as the validation part wants."""
        import lightgbm

        losses: dict[str, dict[str, list[float]]] = {}
        training = _rows(pairs)
        booster = lightgbm.train(
            _SETTINGS
            | {"seed": seed, "min_data_in_leaf": max(1, min(_LEAF_ROWS, len(pairs) // 5))},
            training,
            num_boost_round=trees,
            valid_sets=[training, _rows(validation, training)],
            valid_names=["train", "validation"],
            callbacks=[
                lightgbm.early_stopping(_PATIENCE_TREES, verbose=False),
                lightgbm.record_evaluation(losses),
            ],
        )
        history = History(
            train=losses["train"]["cross_entropy"],
            validation=losses["validation"]["cross_entropy"],
        )
        return cls(booster.model_to_string(num_iteration=history.best_epoch)), history

    def scores(self, features_JF: Vectors) -> Floats:
        """Raw scores, float64 of shape (J,)."""
        if not len(features_JF):
            return np.zeros(0)
        return np.asarray(self._booster.predict(features_JF, raw_score=True), dtype=np.float64)

    @cached_property
    def _booster(self) -> Any:
        import lightgbm

        return lightgbm.Booster(model_str=self.text)


def _rows(pairs: FeaturePairs, reference: Any = None) -> Any:
    """Each pair's two responses with their shares of votes: the pair and its mirror image."""
    import lightgbm

    both = np.concatenate([pairs.chosen_P, pairs.rejected_P])
    labels = np.concatenate([pairs.shares_P, 1 - pairs.shares_P])
    return lightgbm.Dataset(pairs.features_JF[both], labels, reference=reference)
