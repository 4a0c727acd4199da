"""Several reward models that disagree as people do: pairwise calibrated rewards.

Members r_1 … r_k with weights λ_m (Σ λ_m = 1) are calibrated if, of every pair, the weighted share
of members that prefer a response is the share s of the voters who do:

    p(y ≻ y′ | x) = Σ_m λ_m·1[r_m(x, y) > r_m(x, y′)],   equal scores counting one half
    calibration error = mean over pairs of (p − s)²

They are small networks on embeddings, fitted by forward stagewise additive modelling: step k fits
r_k to what the mixture so far leaves unexplained and mixes it in, p ← (1−α)·p + α·1[r_k …], if that
lowers the error on pairs that are not fitted to (`workers.reward_training.stagewise`).

Halpern, Micha, Procaccia & Shapira, "Pairwise calibrated rewards for pluralistic alignment",
NeurIPS 2025 (arXiv 2506.06298). The surrogate of a vote, the weights by line search, and the
networks are choices of this project.

As one reward model it is r = Σ_m λ_m·(r_m − mean r_m)/std r_m, standardised on the training
responses; a report may let the members enter the round as a mixture instead.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from api_schemas.preference_methods import Embedding, PairwiseCalibrated
from api_schemas.report_cards import Curve, Figure, Series
from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Comparison, Split
from workers.reward_training.features import TextFeatures
from workers.rewards.assessment import score_pairs
from workers.rewards.embedding import EmbeddingReward
from workers.rewards.interfaces import Fit, FitContext, MemberScores, RewardModel
from workers.rewards.intervals import mean_figure
from workers.rewards.ranks import preferred
from workers.rewards.registry import preference_method

if TYPE_CHECKING:
    from workers.reward_training.heads import MlpHead
    from workers.reward_training.stagewise import Mixture

_PATIENCE = 5
_BATCH_PAIRS = 64


@preference_method("pairwise_calibrated")
@dataclass(frozen=True, eq=False)
class PairwiseCalibratedReward:
    """Members' heads on the same features, their weights, and what standardises their scores."""

    uses_model: ClassVar[bool] = True

    features: TextFeatures
    heads: Sequence["MlpHead"]
    weights_M: Floats
    means_M: Floats
    deviations_M: Floats

    @classmethod
    def validate(cls, method: PairwiseCalibrated) -> None:
        """The schema says it all."""

    @classmethod
    def fit(cls, split: Split, method: PairwiseCalibrated, context: FitContext) -> Fit:
        """Fit to the training pairs to be measured, and once more to all pairs.

        The measured one goes on to `curve_to` members; those beyond `members` are for the curve.
        """
        steps = max(method.members, method.curve_to) if split.holdout else method.members
        path = cls._path(split.train, method, steps, context)
        measured = path[min(method.members, len(path)) - 1]
        if not split.holdout:
            return Fit(measured)
        single = EmbeddingReward.fit(Split(split.train, []), _single(method), context).model
        figures, curve = _report(path, measured, single, split.holdout, method)
        everything = cls._path(split.everything, method, method.members, context)[-1]
        return Fit(everything, measured=measured, figures=figures, curves=[curve])

    @classmethod
    def _path(
        cls,
        comparisons: Sequence[Comparison],
        method: PairwiseCalibrated,
        steps: int,
        context: FitContext,
    ) -> list[Self]:
        """The model after each step, at least one and `steps` at most."""
        from workers.reward_training.feature_pairs import FeaturePairs, drawn_pairs
        from workers.reward_training.heads import Training
        from workers.reward_training.stagewise import stages

        features = TextFeatures(method.encoder, context.revision(method.encoder), method.max_tokens)
        drawn = drawn_pairs(comparisons, method.max_pairs, method.seed)
        pairs = FeaturePairs.of(drawn, features, context.progress)
        training = Training(
            learning_rate=method.learning_rate,
            weight_decay=method.weight_decay,
            epochs=method.epochs,
            patience=_PATIENCE,
            batch_pairs=_BATCH_PAIRS,
            seed=method.seed,
        )
        found = []
        mixtures = stages(*pairs.validation(method.seed), method.hidden, training)
        for mixture in itertools.islice(mixtures, steps):
            found.append(cls._of(mixture, features))
            context.progress("members", len(found), steps)
        return found

    @classmethod
    def _of(cls, mixture: "Mixture", features: TextFeatures) -> Self:
        deviations_M = mixture.scores_MJ.std(1)
        return cls(
            features,
            mixture.heads,
            mixture.weights_M,
            mixture.scores_MJ.mean(1),
            # A member that scores all alike adds 0 everywhere, on any scale.
            np.where(deviations_M > 0, deviations_M, 1.0),
        )

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """The weighted mean of the members' standardised scores, shape (len(responses),)."""
        return self.aggregated(self.member_scores(prompts, responses))

    def aggregated(self, members: MemberScores) -> Floats:
        """`score`, from the members' scores."""
        scores: Floats = members.weights_M @ members.scores_MJ
        return scores

    def member_scores(self, prompts: Sequence[str], responses: Sequence[str]) -> MemberScores:
        """Standardised scores and mixing weights."""
        return MemberScores(self.weights_M, self._scores(prompts, responses))

    def shares(self, comparisons: Sequence[Comparison]) -> Floats:
        """p of each pair: the weighted share of members that prefer its chosen response."""
        prompts = [pair.prompt for pair in comparisons]
        chosen_MP = self._scores(prompts, [pair.chosen for pair in comparisons])
        rejected_MP = self._scores(prompts, [pair.rejected for pair in comparisons])
        shares: Floats = self.weights_M @ preferred(chosen_MP - rejected_MP)
        return shares

    def _scores(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        if not responses:
            return np.zeros((len(self.heads), 0))
        features_JF = self.features.of(prompts, responses)
        scores_MJ = np.stack([head.scores(features_JF) for head in self.heads])
        return (scores_MJ - self.means_M[:, None]) / self.deviations_M[:, None]

    def to_bytes(self) -> bytes:
        """Safetensors; the numbers stand in its header, as decimals that read back the same."""
        from workers.tensors import pack

        tensors = {
            name: tensor
            for number, head in enumerate(self.heads)
            for name, tensor in head.tensors(f"{number}.").items()
        }
        meta = {
            "features": self.features.record(),
            "weights": self.weights_M.tolist(),
            "means": self.means_M.tolist(),
            "deviations": self.deviations_M.tolist(),
        }
        return pack(tensors, meta)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        from workers.reward_training.heads import MlpHead
        from workers.tensors import unpack

        tensors, meta = unpack(data)
        members = range(len(meta["weights"]))
        return cls(
            TextFeatures.from_record(meta["features"]),
            [MlpHead.from_tensors(tensors, f"{number}.") for number in members],
            *(np.array(meta[name]) for name in ("weights", "means", "deviations")),
        )


def _single(method: PairwiseCalibrated) -> Embedding:
    """One Bradley-Terry model on the same embeddings: what the mixture is compared with."""
    return Embedding(
        name="embedding",
        head="bt_mlp",
        encoder=method.encoder,
        max_tokens=method.max_tokens,
        max_pairs=method.max_pairs,
        seed=method.seed,
    )


def _report(
    path: Sequence[PairwiseCalibratedReward],
    measured: PairwiseCalibratedReward,
    single: RewardModel,
    holdout: Sequence[Comparison],
    method: PairwiseCalibrated,
) -> tuple[list[Figure], Curve]:
    """Held-out errors of the mixture and of what it is compared with, and against k."""
    shares_P = np.array([pair.share for pair in holdout])
    prompts = [pair.prompt for pair in holdout]

    def figure(name: str, errors_P: Floats) -> Figure:
        return mean_figure(name, errors_P, prompts)

    predicted_P = measured.shares(holdout)
    margin_P = score_pairs(single, holdout).differences
    voted_P = preferred(margin_P)
    figures = [
        Figure(name="members", value=float(len(measured.heads))),
        figure("calibration_error", (predicted_P - shares_P) ** 2),
        figure("absolute_calibration_error", np.abs(predicted_P - shares_P)),
        figure("calibration_error_of_bt_mlp", (voted_P - shares_P) ** 2),
        figure("absolute_calibration_error_of_bt_mlp", np.abs(voted_P - shares_P)),
        figure("calibration_error_of_bt_mlp_probability", (_sigmoid(margin_P) - shares_P) ** 2),
        figure("calibration_error_of_one_half", (0.5 - shares_P) ** 2),
        *_noise_floor(holdout),
    ]
    errors = [figure("", (model.shares(holdout) - shares_P) ** 2) for model in path]
    # Steps that were not taken leave the mixture, and its error, as they were.
    errors += [errors[-1]] * (method.curve_to - len(errors))
    return figures, _curve(errors[: method.curve_to], figures[3])


def _noise_floor(holdout: Sequence[Comparison]) -> list[Figure]:
    """The error that the shares of all people would have, where pairs had more than one voter.

    s(1−s)/(n−1) is an unbiased estimate of the variance of a share s of n voters; with votes for a
    tie, which count one half, it is one from above.
    """
    floor_P = np.array(
        [p.share * (1 - p.share) / (p.votes - 1) for p in holdout if p.votes >= 2], dtype=np.float64
    )
    if len(floor_P) < len(holdout):
        return []
    return [Figure(name="calibration_error_of_few_voters", value=float(floor_P.mean()))]


def _curve(errors: Sequence[Figure], single: Figure) -> Curve:
    known = [each.standard_error for each in errors if each.standard_error is not None]
    return Curve(
        title="Held-out calibration error",
        x_label="members",
        y_label="mean of (share of members − share of voters)²",
        x=[float(k + 1) for k in range(len(errors))],
        series=[
            Series(
                name="mixture",
                y=[each.value for each in errors],
                standard_errors=known if len(known) == len(errors) else None,
            ),
            Series(name="best single model (bt_mlp)", y=[single.value] * len(errors)),
        ],
    )


def _sigmoid(values: Floats) -> Floats:
    found: Floats = (1 + np.tanh(values / 2)) / 2
    return found
