"""M fine-tunes that start from one linear-probed head, and their mean in weight space.

WARM (Ramé et al. 2024, arXiv 2401.12187): members differ by the order of their data, learning rate
and dropout, and with Baklava by the SFT checkpoint that they start from. Because all start from one
pretrained network and one head, the straight path between them stays in a region of low loss.

    Δ_k = δ_k + s·B_k·A_k,   Δ_WARM = (1/M)·Σ_k Δ_k,   w_WARM = (1/M)·Σ_k w_k

δ_k is the checkpoint's own change of the base, 0 without one. The mean is over the changes of the
base's weights, not over A and B.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from api_schemas.preference_methods import WeightAveraged
from workers.base_models import BaseModel
from workers.mechanism.arrays import Floats
from workers.reward_training.fine_tuning import Example, fine_tune, probe_head, sequences_of
from workers.reward_training.frozen_states import FrozenStates
from workers.reward_training.lora import LoraAdapter, combined
from workers.reward_training.network import Report, RewardNetwork
from workers.reward_training.rows import TokenSequence
from workers.rewards.interfaces import Progress, counting
from workers.rewards.ranks import preferred


@dataclass(frozen=True, eq=False)
class Starts:
    """The networks that members start from: the base, or a checkpoint each in turn.

    The states below the trained layers are computed once for each, for all sequences of the
    `parts`, which are the training and the held-out ones.
    """

    base: BaseModel
    checkpoints: Sequence[LoraAdapter]
    states: Sequence[FrozenStates]

    @classmethod
    def of(
        cls,
        base: BaseModel,
        checkpoints: Sequence[LoraAdapter],
        parts: Sequence[Sequence[TokenSequence]],
        top_layers: int,
        progress: Progress,
    ) -> "Starts":
        states = []
        for place, adapters in enumerate([[each] for each in checkpoints] or [[]]):
            network = RewardNetwork(base, adapters)
            what = f"frozen layers {place + 1}" if checkpoints else "frozen layers"
            layers = network.below(top_layers)
            states.append(FrozenStates(network, layers, parts, counting(progress, what)))
        return cls(base, checkpoints, states)

    def checkpoint(self, member: int) -> list[LoraAdapter]:
        return [self.checkpoints[member % len(self.checkpoints)]] if self.checkpoints else []

    def states_of(self, member: int) -> FrozenStates:
        return self.states[member % len(self.states)]

    def score(self, adapter: LoraAdapter, sequences: Sequence[TokenSequence]) -> Floats:
        """Scores by the base with this adapter, which holds the whole change of its weights."""
        # A checkpoint may change the layers below, and a mean of checkpoints changes them anew.
        states = None if self.checkpoints else self.states[0]
        return RewardNetwork(self.base, [adapter]).score(sequences, states)


@dataclass(frozen=True, eq=False)
class Members:
    """The whole change of the base by each member, and the losses of their trainings."""

    adapters: Sequence[LoraAdapter]
    losses: Sequence[list[float]]

    @cached_property
    def average(self) -> LoraAdapter:
        return combined([(1 / len(self.adapters), each) for each in self.adapters])

    def between(self, share: float) -> LoraAdapter:
        """(1 − λ)·first member + λ·second member, in weight space."""
        return combined([(1 - share, self.adapters[0]), (share, self.adapters[1])])


def train_members(
    starts: Starts, examples: Sequence[Example], method: WeightAveraged, progress: Progress
) -> Members:
    """Probe the head on the first start, frozen, then train every member from it."""
    head_H = _probed_head(starts, examples, method, progress)
    adapters, losses = [], []
    for member in range(method.members):
        network = RewardNetwork(starts.base, starts.checkpoint(member))
        network.head_H = head_H
        trained = fine_tune(
            network,
            starts.states_of(member),
            examples,
            method,
            learning_rate=method.learning_rates[member % len(method.learning_rates)],
            dropout=method.dropouts[member % len(method.dropouts)],
            order=_order(method.seed, member),
            report=counting(progress, f"steps of member {member + 1}"),
        )
        parts = [(1.0, each) for each in [*starts.checkpoint(member), trained.adapter]]
        adapters.append(combined(parts))
        losses.append(trained.losses)
    return Members(adapters, losses)


def _probed_head(
    starts: Starts, examples: Sequence[Example], method: WeightAveraged, progress: Progress
) -> Tensor:
    return probe_head(
        RewardNetwork(starts.base, starts.checkpoint(0)),
        starts.states_of(0),
        examples,
        centering=method.centering,
        regularization=method.probe_regularization,
        report=counting(progress, "linear probe"),
    )


def _order(seed: int, member: int) -> int:
    return int(np.random.SeedSequence([seed, member]).generate_state(1)[0])


def flip_labels(
    examples: Sequence[Example], share: float, seed: int
) -> tuple[list[Example], list[int]]:
    """The examples with that share of labels turned around, and the places of those."""
    rng = np.random.default_rng([seed, len(examples)])
    chosen = sorted(rng.choice(len(examples), round(share * len(examples)), replace=False).tolist())
    flipped = set(chosen)
    return [
        each.flipped() if place in flipped else each for place, each in enumerate(examples)
    ], chosen


def ranked_as_labelled(scores: dict[TokenSequence, float], examples: Sequence[Example]) -> Floats:
    """1 where the chosen response scores higher, ½ where both score the same, else 0."""
    differences = [scores[each.chosen] - scores[each.rejected] for each in examples]
    return preferred(np.array(differences))


def all_scores(
    starts: Starts, adapters: Sequence[LoraAdapter], examples: Sequence[Example], report: Report
) -> list[dict[TokenSequence, float]]:
    """Every adapter's scores of the examples' sequences."""
    sequences = sequences_of(examples)
    found = []
    for done, adapter in enumerate(adapters, start=1):
        scores = starts.score(adapter, sequences).tolist()
        found.append(dict(zip(sequences, scores, strict=True)))
        report(done, len(adapters))
    return found
