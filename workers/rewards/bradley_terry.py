"""A Bradley-Terry reward model by fine-tuning: LoRA on a base model's top layers, and a head.

The head is fitted first, on the frozen base: a few hundred pairs are too few steps to learn it from
nothing (Kumar et al. 2022, arXiv 2202.10054). Then, for all of them,

    z = r⁺ − r⁻ − margin
    ℓ = −share·log σ(z) − (1−share)·log σ(−z) + η·(r⁺ + r⁻)²

Bradley & Terry (1952), Biometrika 39; the penalty is Eisenstein et al. 2023, arXiv 2312.09244,
eq. 2. Gradients, symbols and the margin's source stand in `workers/reward_training/fine_tuning.py`.
"""

from dataclasses import dataclass

from api_schemas.preference_methods import BradleyTerry
from api_schemas.report_cards import Curve, Figure, Series
from workers.preferences.comparison import Split
from workers.rewards.fine_tuned import FineTunedReward
from workers.rewards.interfaces import Fit, FitContext, counting
from workers.rewards.registry import preference_method

_CURVE_POINTS = 50


@preference_method("bradley_terry")
@dataclass(frozen=True, eq=False)
class BradleyTerryReward(FineTunedReward):
    @classmethod
    def validate(cls, method: BradleyTerry) -> None:
        """The schema says it all."""

    @classmethod
    def fit(cls, split: Split, method: BradleyTerry, context: FitContext) -> Fit:
        """Fit to the training pairs alone: once more on all of them would take twice as long."""
        from workers.base_models import load_in_full_precision
        from workers.reward_training import fine_tuning
        from workers.reward_training.frozen_states import FrozenStates
        from workers.reward_training.network import RewardNetwork

        revision = context.revision(method.base_model)
        base = load_in_full_precision(method.base_model, revision)
        pairs = fine_tuning.drawn(split.train, method.max_pairs, method.seed)
        examples = fine_tuning.examples_of(base, pairs, method.max_tokens)
        network = RewardNetwork(base)
        states = FrozenStates(
            network,
            network.below(method.top_layers),
            [fine_tuning.sequences_of(examples)],
            counting(context.progress, "frozen layers"),
        )
        network.head_H = fine_tuning.probe_head(
            network,
            states,
            examples,
            centering=method.centering,
            regularization=method.probe_regularization,
            report=counting(context.progress, "linear probe"),
        )
        trained = fine_tuning.fine_tune(
            network,
            states,
            examples,
            method,
            learning_rate=method.learning_rate,
            dropout=method.dropout,
            order=method.seed,
            report=counting(context.progress, "steps"),
        )
        model = cls.from_adapter(
            trained.adapter,
            base_model=method.base_model,
            revision=revision,
            max_tokens=method.max_tokens,
        )
        figures = [Figure(name="pairs trained on", value=len(pairs))]
        return Fit(model, figures=figures, curves=[loss_curve(trained.losses)])


def loss_curve(losses: list[float], title: str = "Training loss before each step") -> Curve:
    """The loss over the steps, each point the mean of a few."""
    width = -(-len(losses) // _CURVE_POINTS)
    parts = [losses[i : i + width] for i in range(0, len(losses), width)]
    return Curve(
        title=title,
        x_label="step",
        y_label="nats a pair",
        x=[i * width + (len(part) + 1) / 2 for i, part in enumerate(parts)],
        series=[Series(name="loss", y=[sum(part) / len(part) for part in parts])],
    )
