"""Fine-tuning a reward network on comparisons: LoRA on the top layers, and the head.

A pair's loss, with r⁺ and r⁻ the scores of `chosen` and `rejected`, s ∈ [½, 1] the share of votes
for `chosen`, m ≥ 0 the margin and η the centring coefficient:

    z = r⁺ − r⁻ − m
    ℓ = −s·log σ(z) − (1−s)·log σ(−z) + η·(r⁺ + r⁻)²
    ∂ℓ/∂r⁺ = σ(z) − s + 2η(r⁺ + r⁻),    ∂ℓ/∂r⁻ = s − σ(z) + 2η(r⁺ + r⁻)

With s = 1, m = 0 it is the Bradley-Terry model's −log σ(r⁺ − r⁻). The margin is that of Touvron et
al. (2023, arXiv 2307.09288, eq. 2), the penalty that of Eisenstein et al. (2023, arXiv 2312.09244,
eq. 2): preferences tell nothing of a prompt's mean score, and the penalty puts it near 0. Without
it the least loss is at r⁺ − r⁻ = m + log(s/(1−s)): a likelihood P(chosen) = σ(r⁺ − r⁻ − m), the
same for a pair that is turned around with −m and 1 − s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from api_schemas.errors import InvalidInput
from api_schemas.preference_methods import FineTuning
from workers.base_models import BaseModel
from workers.preferences.comparison import Comparison
from workers.reward_training.lora import LoraAdapter
from workers.reward_training.network import HiddenStates, LoraLinear, Report, RewardNetwork
from workers.reward_training.rows import BATCH_SLOTS, TokenSequence, batches, tokenized

_CLIP_NORM = 1.0
_PROBE_STEPS = 200


@dataclass(frozen=True)
class Example:
    """A comparison in tokens."""

    prompt: str
    chosen: TokenSequence
    rejected: TokenSequence
    share: float
    margin: float

    @property
    def slots(self) -> int:
        return self.chosen.slots + len(self.rejected.response)

    def flipped(self) -> Self:
        """The same with the wrong label."""
        return type(self)(self.prompt, self.rejected, self.chosen, self.share, self.margin)


def examples_of(
    base: BaseModel, comparisons: Sequence[Comparison], max_tokens: int
) -> list[Example]:
    prompts = [each.prompt for each in comparisons]
    chosen = tokenized(base, prompts, [each.chosen for each in comparisons], max_tokens)
    rejected = tokenized(base, prompts, [each.rejected for each in comparisons], max_tokens)
    return [
        Example(each.prompt, better, worse, each.share, each.margin)
        for each, better, worse in zip(comparisons, chosen, rejected, strict=True)
    ]


def drawn(comparisons: Sequence[Comparison], most: int, seed: int) -> list[Comparison]:
    """All comparisons, or as many as `most` of them, in their order."""
    if len(comparisons) <= most:
        return list(comparisons)
    places = np.random.default_rng(seed).choice(len(comparisons), most, replace=False)
    return [comparisons[i] for i in sorted(places)]


def sequences_of(examples: Sequence[Example]) -> list[TokenSequence]:
    return list(dict.fromkeys(s for each in examples for s in (each.chosen, each.rejected)))


def preference_loss(
    chosen_P: Tensor, rejected_P: Tensor, share_P: Tensor, margin_P: Tensor, centering: float
) -> Tensor:
    """ℓ of every pair, shape (P,)."""
    z_P = chosen_P - rejected_P - margin_P
    log_loss_P = -share_P * logsigmoid(z_P) - (1 - share_P) * logsigmoid(-z_P)
    return log_loss_P + centering * (chosen_P + rejected_P) ** 2


@dataclass(frozen=True)
class Trained:
    """What was added to the network, and the mean loss of each step's pairs before it."""

    adapter: LoraAdapter
    losses: list[float]


def fine_tune(
    network: RewardNetwork,
    states: HiddenStates,
    examples: Sequence[Example],
    method: FineTuning,
    *,
    learning_rate: float,
    dropout: float,
    order: int,
    report: Report,
) -> Trained:
    """Train a new adapter, and the network's head from where it is, with AdamW.

    The rate falls linearly to 0, gradients are clipped at norm 1. `order` seeds the order of the
    data and dropout; the adapter starts alike for all orders. Raises InvalidInput if it diverges.
    """
    start = network.fresh_adapter(
        method.top_layers, method.lora_rank, method.lora_alpha, method.seed
    )
    layers = network.attach(start, dropout)
    network.head_H = nn.Parameter(network.head_H.clone())
    parameters = [network.head_H, *(p for layer in layers.values() for p in _factors(layer))]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=method.weight_decay)
    steps = list(_steps(examples, method.epochs, method.batch_pairs, order))
    losses = []
    with torch.random.fork_rng():
        torch.manual_seed(order)
        for step, chosen in enumerate(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 - step / len(steps))
            losses.append(_step(network, states, chosen, method.centering, parameters, optimizer))
            _require_finite(losses[-1], step, learning_rate)
            report(step + 1, len(steps))
    return Trained(_taken(layers, network.head_H, method.lora_alpha), losses)


def _factors(layer: LoraLinear) -> tuple[nn.Parameter, nn.Parameter]:
    return layer.a_ri, layer.b_or


def _steps(
    examples: Sequence[Example], epochs: int, batch_pairs: int, order: int
) -> Iterator[list[Example]]:
    rng = np.random.default_rng(order)
    for _ in range(epochs):
        shuffled = [examples[i] for i in rng.permutation(len(examples))]
        for start in range(0, len(shuffled), batch_pairs):
            yield shuffled[start : start + batch_pairs]


def _step(
    network: RewardNetwork,
    states: HiddenStates,
    examples: Sequence[Example],
    centering: float,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> float:
    """One update on the mean loss of the examples; returns that loss before it."""
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in _parts(examples):
        loss = _losses(network, states, part, centering).sum() / len(examples)
        loss.backward()
        total += float(loss.detach())
    nn.utils.clip_grad_norm_(parameters, _CLIP_NORM)
    optimizer.step()
    return total


def _parts(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Pairs of nearly the same length, so many that a part's activations fit into memory."""
    part: list[Example] = []
    for each in sorted(examples, key=lambda each: each.slots):
        if part and each.slots * (len(part) + 1) > BATCH_SLOTS:
            yield part
            part = []
        part.append(each)
    yield part


def _losses(
    network: RewardNetwork, states: HiddenStates, examples: Sequence[Example], centering: float
) -> Tensor:
    places: dict[TokenSequence, int] = {}
    rewards = []
    for batch in batches(sequences_of(examples)):
        for sequence in batch.sequences:
            places[sequence] = len(places)
        rewards.append(network.rewards(batch, states))
    rewards_Q = torch.cat(rewards)
    return preference_loss(
        rewards_Q[[places[each.chosen] for each in examples]],
        rewards_Q[[places[each.rejected] for each in examples]],
        rewards_Q.new_tensor([each.share for each in examples]),
        rewards_Q.new_tensor([each.margin for each in examples]),
        centering,
    )


def _require_finite(loss: float, step: int, learning_rate: float) -> None:
    if not np.isfinite(loss):
        raise InvalidInput(
            f"fine-tuning diverged: the loss is {loss} at step {step}; lower the learning rate of "
            f"{learning_rate}",
            param="reward_model.method",
        )


def _taken(layers: dict[str, LoraLinear], head_H: Tensor, alpha: float) -> LoraAdapter:
    return LoraAdapter(
        {module: layer.a_ri.detach().cpu() for module, layer in layers.items()},
        {module: layer.b_or.detach().cpu() for module, layer in layers.items()},
        head_H.detach().cpu(),
        alpha,
    )


@torch.no_grad()
def _features(
    network: RewardNetwork, states: HiddenStates, examples: Sequence[Example], report: Report
) -> tuple[Tensor, Tensor]:
    """norm(h_last) of the chosen and of the rejected, float64, shapes (P, H)."""
    found: dict[TokenSequence, Tensor] = {}
    sequences = sequences_of(examples)
    for batch in batches(sequences):
        found.update(zip(batch.sequences, network.last_hidden(batch, states).double(), strict=True))
        report(len(found), len(sequences))
    return (
        torch.stack([found[each.chosen] for each in examples]),
        torch.stack([found[each.rejected] for each in examples]),
    )


def probe_head(
    network: RewardNetwork,
    states: HiddenStates,
    examples: Sequence[Example],
    *,
    centering: float,
    regularization: float,
    report: Report,
) -> Tensor:
    """The head that is best on the frozen network, shape (H,): linear probing.

        w = argmin mean_P ℓ(w·f⁺, w·f⁻) + (ρ/2)·d²·‖w‖²,   d² = mean ‖f⁺ − f⁻‖²

    f are the normed last hidden states, ρ is `regularization`; d² makes it independent of their
    scale. Convex, so that the start doesn't matter. Kumar et al. (2022, arXiv 2202.10054): a head
    that fits before fine-tuning keeps the features from being distorted.
    """
    chosen_PH, rejected_PH = _features(network, states, examples, report)
    share_P = chosen_PH.new_tensor([each.share for each in examples])
    margin_P = chosen_PH.new_tensor([each.margin for each in examples])
    penalty = regularization / 2 * ((chosen_PH - rejected_PH) ** 2).sum(1).mean()
    w_H = chosen_PH.new_zeros(chosen_PH.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([w_H], max_iter=_PROBE_STEPS, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        losses_P = preference_loss(chosen_PH @ w_H, rejected_PH @ w_H, share_P, margin_P, centering)
        loss = losses_P.mean() + penalty * (w_H @ w_H)
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)
    return w_H.detach().float()
