"""A Bradley-Terry reward model on TF-IDF features of the response.

    P(y ≻ y′ | x) = σ(r(y) − r(y′)),   r(y) = w · tfidf(y)
    w = argmin Σ_pairs log(1 + exp(−w · (tfidf(chosen) − tfidf(rejected)))) + (ρ/2)‖w‖²

Bradley & Terry (1952), Biometrika 39; ρ is the spec's `regularization`. No intercept: it would
cancel in every difference.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from api_schemas.errors import InvalidInput
from api_schemas.preference_methods import TfidfBradleyTerry
from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Comparison, Split
from workers.rewards.interfaces import Fit, FitContext
from workers.rewards.registry import preference_method

_ITERATIONS = 1000


@preference_method("tfidf_bradley_terry")
@dataclass(frozen=True, eq=False)
class TfidfBradleyTerryReward:
    """Terms with their inverse document frequencies and weights, in the order of the terms.

    A response without any known term scores 0.
    """

    uses_model: ClassVar[bool] = False

    terms: tuple[str, ...]
    idf: Floats
    weights: Floats

    @classmethod
    def validate(cls, method: TfidfBradleyTerry) -> None:
        """The schema says it all."""

    @classmethod
    def fit(cls, split: Split, method: TfidfBradleyTerry, context: FitContext) -> Fit:
        """Fit to the training pairs to be measured, and once more to all pairs.

        Raises InvalidInput for responses without any word.
        """
        everything = cls.from_pairs(split.everything, method)
        return Fit(everything, measured=cls.from_pairs(split.train, method))

    @classmethod
    def from_pairs(cls, pairs: Sequence[Comparison], method: TfidfBradleyTerry) -> Self:
        """The minimiser over these pairs. Raises InvalidInput if they hold no word at all."""
        from sklearn.linear_model import LogisticRegression

        texts = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
        vectorizer = _vectorizer(max_features=method.max_features)
        try:
            features = vectorizer.fit_transform(texts)
        except ValueError as error:  # scikit-learn: "empty vocabulary"
            raise InvalidInput(f"the responses hold no words: {error}", param="file") from None
        differences = features[: len(pairs)] - features[len(pairs) :]
        # The classifier wants both classes. Without an intercept, a mirrored pair with the opposite
        # label has the same loss, so mirroring every second one changes nothing but the labels.
        signs = np.where(np.arange(len(pairs)) % 2 == 0, 1.0, -1.0)
        model = LogisticRegression(
            C=1 / method.regularization, fit_intercept=False, max_iter=_ITERATIONS, tol=1e-8
        )
        model.fit(differences.multiply(signs[:, None]).tocsr(), signs)
        terms = tuple(str(term) for term in vectorizer.get_feature_names_out())
        return cls(terms, np.array(vectorizer.idf_), np.array(model.coef_[0]))

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """w · tfidf(response), shape (len(responses),); prompts are not read."""
        if not responses:
            return np.zeros(0)
        scores: Floats = self._fitted_vectorizer.transform(list(responses)) @ self.weights
        return scores

    @cached_property
    def _fitted_vectorizer(self) -> Any:
        vectorizer = _vectorizer(vocabulary={term: i for i, term in enumerate(self.terms)})
        vectorizer.idf_ = self.idf
        return vectorizer

    def to_bytes(self) -> bytes:
        """JSON; Python writes the shortest decimal that reads back as the same float."""
        record = {
            "terms": self.terms,
            "idf": self.idf.tolist(),
            "weights": self.weights.tolist(),
        }
        return json.dumps(record, allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        record = json.loads(data)
        return cls(tuple(record["terms"]), np.array(record["idf"]), np.array(record["weights"]))


def _vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float64, **options)
