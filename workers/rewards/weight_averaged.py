"""WARM: fine-tunes of one base, averaged in weight space (Ramé et al. 2024, arXiv 2401.12187).

    θ_WARM = (1/M)·Σ_k θ_k,   θ_k fine-tuned as `bradley_terry`, from one linear-probed head

Members differ by the order of the data, learning rate and dropout, and by SFT checkpoints where
they are given (Baklava). One network to score with, where an ensemble has M. Its report card
compares it with the members and with the mean of their predictions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api_schemas.errors import InvalidInput
from api_schemas.preference_methods import WeightAveraged
from api_schemas.report_cards import Curve, Figure
from workers.preferences.comparison import Split
from workers.rewards.adapter import read_adapter
from workers.rewards.bradley_terry import loss_curve
from workers.rewards.fine_tuned import FineTunedReward
from workers.rewards.interfaces import Fit, FitContext
from workers.rewards.registry import preference_method

if TYPE_CHECKING:
    from workers.base_models import BaseModel
    from workers.reward_training.fine_tuning import Example
    from workers.reward_training.lora import LoraAdapter
    from workers.reward_training.weight_averaging import Members, Starts


@preference_method("weight_averaged")
@dataclass(frozen=True, eq=False)
class WeightAveragedReward(FineTunedReward):
    @classmethod
    def validate(cls, method: WeightAveraged) -> None:
        """Raises InvalidInput for more checkpoints than members: some would never be used."""
        if len(method.checkpoints) > method.members:
            raise InvalidInput(
                f"{len(method.checkpoints)} checkpoints for {method.members} members: some would "
                "not be used",
                param="reward_model.method.checkpoints",
            )

    @classmethod
    def fit(cls, split: Split, method: WeightAveraged, context: FitContext) -> Fit:
        """Fit to the training pairs alone: once more on all of them would take twice as long."""
        from workers.base_models import load_in_full_precision
        from workers.reward_training import fine_tuning
        from workers.reward_training.weight_averaging import Starts, train_members

        revision = context.revision(method.base_model)
        base = load_in_full_precision(method.base_model, revision)
        pairs = fine_tuning.drawn(split.train, method.max_pairs, method.seed)
        decided = [each for each in split.holdout if not each.is_tie]
        examples = fine_tuning.examples_of(base, pairs, method.max_tokens)
        holdout = fine_tuning.examples_of(base, decided, method.max_tokens)
        parts = [fine_tuning.sequences_of(each) for each in (examples, holdout)]
        checkpoints = _checkpoints(method, base, context)
        starts = Starts.of(base, checkpoints, parts, method.top_layers, context.progress)
        members = train_members(starts, examples, method, context.progress)
        model = cls.from_adapter(
            members.average,
            base_model=method.base_model,
            revision=revision,
            max_tokens=method.max_tokens,
        )
        figures, curves = _findings(starts, members, examples, holdout, method, context)
        return Fit(model, figures=figures, curves=curves)


def _checkpoints(
    method: WeightAveraged, base: "BaseModel", context: FitContext
) -> list["LoraAdapter"]:
    return [
        read_adapter(
            context.load_file(file_id),
            base,
            alpha=method.checkpoint_alpha,
            with_score=False,
            param=f"reward_model.method.checkpoints[{place}]",
        )
        for place, file_id in enumerate(method.checkpoints)
    ]


def _findings(
    starts: "Starts",
    members: "Members",
    examples: Sequence["Example"],
    holdout: Sequence["Example"],
    method: WeightAveraged,
    context: FitContext,
) -> tuple[list[Figure], list[Curve]]:
    from workers.reward_training import averaging_findings as findings

    figures = [Figure(name="pairs trained on", value=len(examples))]
    curves = [loss_curve(members.losses[0], "Training loss of the first member before each step")]
    if holdout:
        figures += findings.held_out_figures(starts, members, holdout, context.progress)
        curves.append(findings.connectivity_curve(starts, members, holdout, context.progress))
    if method.flipped_share:
        figures += findings.flipped_figures(starts, examples, holdout, method, context.progress)
    return figures, curves
