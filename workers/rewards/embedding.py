"""A reward model on frozen embeddings: the encoder runs once a text, and a small head is trained.

    bt_mlp         −s·log σ(r(y) − r(y′) − m) − (1−s)·log σ(r(y′) − r(y) + m)   over pairs (y, y′)
    clf_mlp        −s·log σ(r(y)) − (1−s)·log σ(−r(y))     over responses, each pair from both sides
    clf_lightgbm   the same loss, r a sum of trees

with s the share of votes for y and m the margin that the data names, r(y) = r(x, y) the head on the
features of a prompt with a response. A classifier's log odds keep the order of the rewards, which
is all that a reward model is used for (*order consistency*), so any classifier will do.

Sun, Shen & Ton, "Rethinking Bradley-Terry models in preference-based reward modeling", ICLR 2025
(arXiv 2411.04991): embeddings, heads, an MLP of 1024 and 512 units trained by Adam with learning
rate 1e-3, 30 epochs at most, patience 3, and trees by LightGBM.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from api_schemas.preference_methods import Embedding
from api_schemas.report_cards import Curve, Figure, Series
from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Comparison, Split
from workers.reward_training.features import TextFeatures
from workers.rewards.assessment import score_pairs
from workers.rewards.interfaces import Fit, FitContext
from workers.rewards.intervals import mean_figure
from workers.rewards.registry import preference_method

if TYPE_CHECKING:
    from workers.reward_training.feature_pairs import FeaturePairs
    from workers.reward_training.heads import History, MlpHead
    from workers.reward_training.trees import TreesHead


@preference_method("embedding")
@dataclass(frozen=True, eq=False)
class EmbeddingReward:
    """What makes features of texts, and the head that scores features."""

    uses_model: ClassVar[bool] = True

    features: TextFeatures
    head: "MlpHead | TreesHead"

    @classmethod
    def validate(cls, method: Embedding) -> None:
        """The schema says it all."""

    @classmethod
    def fit(cls, split: Split, method: Embedding, context: FitContext) -> Fit:
        """Fit to the training pairs to be measured, and once more to all pairs."""
        features = TextFeatures(method.encoder, context.revision(method.encoder), method.max_tokens)
        measured, history = cls._fitted(split.train, method, features, context)
        curves = [_learning_curve(history, method)]
        if not split.holdout:
            return Fit(measured, curves=curves)
        everything, _ = cls._fitted(split.everything, method, features, context)
        figures = order_consistency(measured, split.holdout)
        return Fit(everything, measured=measured, figures=figures, curves=curves)

    @classmethod
    def _fitted(
        cls,
        comparisons: Sequence[Comparison],
        method: Embedding,
        features: TextFeatures,
        context: FitContext,
    ) -> "tuple[Self, History]":
        from workers.reward_training.feature_pairs import FeaturePairs, drawn_pairs

        drawn = drawn_pairs(comparisons, method.max_pairs, method.seed)
        pairs = FeaturePairs.of(drawn, features, context.progress)
        head, history = _train(pairs, method, context)
        return cls(features, head), history

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """r(x, y), shape (len(responses),); of the classifiers, log odds."""
        if not responses:
            return np.zeros(0)
        return self.head.scores(self.features.of(prompts, responses))

    def to_bytes(self) -> bytes:
        """A line of JSON, then the head: safetensors, or LightGBM's text."""
        from workers.reward_training.trees import TreesHead
        from workers.tensors import pack

        kind = "trees" if isinstance(self.head, TreesHead) else "mlp"
        header = {"head": kind, "features": self.features.record()}
        payload = (
            self.head.text.encode()
            if isinstance(self.head, TreesHead)
            else pack(self.head.tensors(), {})
        )
        return json.dumps(header, sort_keys=True).encode() + b"\n" + payload

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        from workers.reward_training.heads import MlpHead
        from workers.reward_training.trees import TreesHead
        from workers.tensors import unpack

        header_line, _, payload = data.partition(b"\n")
        header = json.loads(header_line)
        features = TextFeatures.from_record(header["features"])
        if header["head"] == "trees":
            return cls(features, TreesHead(payload.decode()))
        return cls(features, MlpHead.from_tensors(unpack(payload)[0]))


def order_consistency(model: EmbeddingReward, holdout: Sequence[Comparison]) -> list[Figure]:
    """How many held-out votes are for the response that scores higher, and the most there can be.

    Where voters disagree no single order agrees with all of them: the ceiling is what the majority
    of each pair gives.
    """
    differences_P = score_pairs(model, holdout).differences
    shares_P = np.array([pair.share for pair in holdout])
    # Of a pair with share s for the chosen response: s, 1 − s, or ½ where both score the same.
    votes_P = 0.5 + np.sign(differences_P) * (shares_P - 0.5)
    return [
        mean_figure("order_consistency", votes_P, [pair.prompt for pair in holdout]),
        Figure(name="order_consistency_ceiling", value=float(shares_P.mean())),
    ]


def _train(
    pairs: "FeaturePairs", method: Embedding, context: FitContext
) -> "tuple[MlpHead | TreesHead, History]":
    from workers.reward_training import heads
    from workers.reward_training.trees import TreesHead

    training, validation = pairs.validation(method.seed)
    if method.head == "clf_lightgbm":
        return TreesHead.fit(training, validation, method.trees, method.seed)
    loss = heads.bradley_terry if method.head == "bt_mlp" else heads.classification
    head = heads.MlpHead.new(pairs.features_JF, method.hidden, method.seed)
    settings = heads.Training(
        learning_rate=method.learning_rate,
        weight_decay=0.0,
        epochs=method.epochs,
        patience=method.patience,
        batch_pairs=method.batch_pairs,
        seed=method.seed,
    )
    return head, heads.train(head, training, validation, loss, settings, context.progress)


def _learning_curve(history: "History", method: Embedding) -> Curve:
    """Where it stopped, and why."""
    unit = "trees" if method.head == "clf_lightgbm" else "epochs"
    return Curve(
        title=f"Training of the head: {history.best_epoch} {unit} are kept",
        x_label=unit,
        y_label="mean loss (nats)",
        x=[float(step + 1) for step in range(len(history.train))],
        series=[
            Series(name="trained on", y=history.train),
            Series(name="validation", y=history.validation),
        ],
    )
