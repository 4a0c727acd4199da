"""A small network on features, trained on pairs until a validation part stops improving."""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as log_loss

from workers.mechanism.arrays import Floats
from workers.reward_training.embedding_cache import Vectors
from workers.reward_training.feature_pairs import FeaturePairs
from workers.rewards.interfaces import Progress, no_progress

Loss = Callable[[FeaturePairs, Tensor, Tensor], Tensor]
"""From pairs, scores of the chosen and of the rejected responses, shape (P,): a mean over pairs."""


@dataclass(frozen=True, eq=False)
class MlpHead:
    """ReLU layers on standardised features: r = W_n·relu(… relu(W_1·(f − μ)/s + b_1) …) + b_n.

    Scores are computed in float64: then a score depends on the batch by no more than its features.
    """

    mean_F: Tensor
    scale_F: Tensor
    network: torch.nn.Sequential

    @classmethod
    def new(cls, features_JF: Vectors, hidden: Sequence[int], seed: int) -> Self:
        """With the seed's random weights, standardised on these features.

        A feature that is constant here, as a single prompt's are, is 0 ever after: what it does
        was not learned.
        """
        features = torch.from_numpy(features_JF)
        deviation_F = features.std(0, correction=0)
        scale_F = torch.where(deviation_F > 1e-6, deviation_F, torch.inf)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _network([features.shape[1], *hidden, 1])
        return cls(features.mean(0), scale_F, network)

    def forward(self, features_JF: Tensor) -> Tensor:
        standardised_JF = (features_JF - self.mean_F) / self.scale_F
        return self.network(standardised_JF)[:, 0]  # type: ignore[no-any-return]

    @torch.no_grad()
    def scores(self, features_JF: Vectors) -> Floats:
        """Raw scores, float64 of shape (J,)."""
        if not len(features_JF):
            return np.zeros(0)
        exact = MlpHead(
            self.mean_F.double(), self.scale_F.double(), copy.deepcopy(self.network).double()
        )
        scores: Floats = exact.forward(torch.from_numpy(features_JF).double()).numpy()
        return scores

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """What `from_tensors` needs, by names that begin with the prefix."""
        own = {"mean": self.mean_F, "scale": self.scale_F, **self.network.state_dict()}
        return {prefix + name: tensor for name, tensor in own.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], prefix: str = "") -> Self:
        own = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        mean_F, scale_F = own.pop("mean"), own.pop("scale")
        weights = [tensor for name, tensor in own.items() if name.endswith("weight")]
        weights = [own[f"{2 * layer}.weight"] for layer in range(len(weights))]
        network = _network([len(mean_F), *(len(weight) for weight in weights)])
        network.load_state_dict(own)
        return cls(mean_F, scale_F, network)


@dataclass(frozen=True)
class Training:
    """How long and how fast a head is trained."""

    learning_rate: float
    weight_decay: float
    epochs: int
    patience: int
    batch_pairs: int
    seed: int


@dataclass
class History:
    """Mean losses after each epoch."""

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        return int(np.argmin(self.validation)) + 1

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return len(self.validation) - self.best_epoch


def train(
    head: MlpHead,
    pairs: FeaturePairs,
    validation: FeaturePairs,
    loss: Loss,
    settings: Training,
    progress: Progress = no_progress,
) -> History:
    """Adam on shuffled batches; leaves the weights of the epoch with the lowest validation loss."""
    optimizer = torch.optim.AdamW(
        head.network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    random = np.random.default_rng(settings.seed)
    history, best = History(), copy.deepcopy(head.network.state_dict())
    for epoch in range(settings.epochs):
        history.train.append(_epoch(head, pairs, loss, settings.batch_pairs, optimizer, random))
        with torch.no_grad():
            history.validation.append(float(_loss(head, validation, loss)))
        if history.waited == 0:
            best = copy.deepcopy(head.network.state_dict())
        elif history.waited >= settings.patience:
            break
        progress("epochs", epoch + 1, settings.epochs)
    head.network.load_state_dict(best)
    return history


def bradley_terry(pairs: FeaturePairs, chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
    """−s·log σ(Δ) − (1−s)·log σ(−Δ) with Δ = r(chosen) − r(rejected) − margin, s the share."""
    margins_P, shares_P = _like(chosen_P, pairs.margins_P), _like(chosen_P, pairs.shares_P)
    return log_loss(chosen_P - rejected_P - margins_P, shares_P)


def classification(pairs: FeaturePairs, chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
    """Log loss of telling responses that are preferred: s for the chosen, 1−s for the rejected.

    Each pair counts with its mirror image, so that both classes are equally large.
    """
    shares_P = _like(chosen_P, pairs.shares_P)
    return (log_loss(chosen_P, shares_P) + log_loss(rejected_P, 1 - shares_P)) / 2


def _network(widths: Sequence[int]) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _epoch(
    head: MlpHead,
    pairs: FeaturePairs,
    loss: Loss,
    batch_pairs: int,
    optimizer: torch.optim.Optimizer,
    random: np.random.Generator,
) -> float:
    order = random.permutation(len(pairs))
    total = 0.0
    for start in range(0, len(pairs), batch_pairs):
        batch = pairs.take(order[start : start + batch_pairs])
        optimizer.zero_grad()
        value = _loss(head, batch, loss)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(value.detach()) * len(batch)
    return total / len(pairs)


def _loss(head: MlpHead, pairs: FeaturePairs, loss: Loss) -> Tensor:
    both = np.concatenate([pairs.chosen_P, pairs.rejected_P])
    scores = head.forward(torch.from_numpy(pairs.features_JF[both]))
    return loss(pairs, scores[: len(pairs)], scores[len(pairs) :])


def _like(scores: Tensor, values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=scores.dtype)
