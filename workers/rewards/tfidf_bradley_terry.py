"""A Bradley-Terry reward model on TF-IDF features of the response.

    P(y ≻ y′ | x) = σ(r(y) − r(y′)),   r(y) = w · tfidf(y)
    w = argmin Σ_pairs log(1 + exp(−w · (tfidf(chosen) − tfidf(rejected)))) + (ρ/2)‖w‖²

Bradley & Terry (1952), Biometrika 39; ρ is the spec's `regularization`. No intercept: it would
cancel in every difference.
"""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from api_schemas.datasets import PreferenceLine, parse_jsonl
from api_schemas.errors import InvalidInput
from api_schemas.reward_models import PreferenceDataSpec, ReportCard, TfidfBradleyTerry
from workers.mechanism.arrays import Floats
from workers.rewards.registry import LoadFile, reward_model

MIN_PAIRS = 10
"""Fewer distinct pairs are no basis for a reward model."""

MIN_HOLDOUT_PAIRS = 10
"""Fewer held-out pairs are no basis for an accuracy."""

_ITERATIONS = 1000


@reward_model("tfidf_bradley_terry")
@dataclass(frozen=True, eq=False)
class TfidfBradleyTerryReward:
    """Terms with their inverse document frequencies and weights, in the order of the terms.

    A response without any known term scores 0.
    """

    needs_data: ClassVar[bool] = True

    terms: tuple[str, ...]
    idf: Floats
    weights: Floats

    @classmethod
    def validate(cls, spec: PreferenceDataSpec) -> None:
        """The schema says it all; the file is read when fitting."""

    @classmethod
    def fit(cls, spec: PreferenceDataSpec, load_file: LoadFile) -> tuple[Self, ReportCard]:
        """Measure on held-out prompts, then fit to all pairs.

        The result doesn't depend on the order of the lines. Raises InvalidInput for lines that
        can't be read, fewer than MIN_PAIRS distinct pairs, or responses without any word.
        """
        lines = parse_jsonl(io.BytesIO(load_file(spec.file_id)), PreferenceLine)
        pairs, counts = _distinct_pairs(lines)
        if len(pairs) < MIN_PAIRS:
            raise InvalidInput(
                f"{len(pairs)} distinct pairs with different responses, at least {MIN_PAIRS} are "
                f"needed ({counts})",
                param="file",
            )
        card = _report_card(cls, pairs, counts, spec.method)
        return cls.from_pairs(pairs, spec.method), card

    @classmethod
    def from_pairs(cls, pairs: Sequence[PreferenceLine], method: TfidfBradleyTerry) -> Self:
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


@dataclass(frozen=True)
class _Dropped:
    duplicates: int
    ties: int

    def __str__(self) -> str:
        return f"{self.duplicates} duplicates and {self.ties} ties were dropped"


def _distinct_pairs(lines: Sequence[PreferenceLine]) -> tuple[list[PreferenceLine], _Dropped]:
    """Pairs that say something, each once, sorted so that the file's order doesn't matter."""
    decided = [line for line in lines if line.chosen.strip() != line.rejected.strip()]
    distinct = {(line.prompt, line.chosen, line.rejected): line for line in decided}
    pairs = [distinct[key] for key in sorted(distinct)]
    return pairs, _Dropped(len(decided) - len(pairs), len(lines) - len(decided))


def _report_card(
    kind: type[TfidfBradleyTerryReward],
    pairs: Sequence[PreferenceLine],
    dropped: _Dropped,
    method: TfidfBradleyTerry,
) -> ReportCard:
    """Accuracy on prompts the model has not seen, or None and the reason."""
    held_out = _held_out_prompts(pairs, method)
    train = [pair for pair in pairs if pair.prompt not in held_out]
    holdout = [pair for pair in pairs if pair.prompt in held_out]
    accuracy, error, note = None, None, None
    if len(holdout) < MIN_HOLDOUT_PAIRS or len(train) < MIN_PAIRS:
        note = (
            f"{len(train)} pairs to train and {len(holdout)} on held-out prompts; an accuracy "
            f"needs at least {MIN_PAIRS} and {MIN_HOLDOUT_PAIRS}"
        )
        train, holdout = [], []
    else:
        correct = _ranked_right(kind.from_pairs(train, method), holdout)
        accuracy = float(correct.mean())
        error = clustered_standard_error(correct, [pair.prompt for pair in holdout])
    return ReportCard(
        n_pairs=len(pairs),
        n_prompts=len({pair.prompt for pair in pairs}),
        n_duplicates_dropped=dropped.duplicates,
        n_ties_dropped=dropped.ties,
        n_train=len(train),
        n_holdout=len(holdout),
        accuracy=accuracy,
        accuracy_standard_error=error,
        note=note,
    )


def _held_out_prompts(pairs: Sequence[PreferenceLine], method: TfidfBradleyTerry) -> set[str]:
    """Whole prompts, drawn by the seed: pairs of one prompt share responses, which would leak."""
    prompts = sorted({pair.prompt for pair in pairs})
    shuffled = np.random.default_rng(method.seed).permutation(len(prompts))
    count = max(1, round(method.holdout_share * len(prompts)))
    return {prompts[i] for i in shuffled[:count]}


def _ranked_right(model: TfidfBradleyTerryReward, pairs: Sequence[PreferenceLine]) -> Floats:
    """1 where the chosen response scores higher, ½ where both score the same, else 0."""
    prompts = [pair.prompt for pair in pairs]
    chosen = model.score(prompts, [pair.chosen for pair in pairs])
    rejected = model.score(prompts, [pair.rejected for pair in pairs])
    return (np.sign(chosen - rejected) + 1) / 2


def clustered_standard_error(values: Floats, clusters: Sequence[str]) -> float | None:
    """Standard error of the mean when values within a cluster depend on each other.

    sqrt(G/(G−1) · Σ_g (Σ_{k∈g} (a_k − ā))²)/K for K values in G clusters (Liang & Zeger 1986);
    None for a single cluster, which tells nothing of the spread.
    """
    names = sorted(set(clusters))
    if len(names) < 2:
        return None
    place = {name: g for g, name in enumerate(names)}
    sums = np.zeros(len(names))
    np.add.at(sums, [place[name] for name in clusters], values - values.mean())
    return math.sqrt(len(names) / (len(names) - 1) * float(sums @ sums)) / len(values)


def _vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float64, **options)
