"""A reward network: a base model's layers with LoRA adapters, and a head on the last token.

    r(x, y) = w · norm(h_last),   h_last the last layer's output at the token that ends y

Axes: R rows, S slots of a row, H hidden units, Q sequences.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.mechanism.arrays import Floats
from workers.reward_training.lora import LoraAdapter
from workers.reward_training.rows import RowBatch, TokenSequence, batches
from workers.training.stacked_lora import TARGETS, StackedLinear

Report = Callable[[int, int], None]
"""Told how many are done, of how many."""


class LoraLinear(nn.Module):
    """y = base(x) + s·(dropout(x)·Aᵀ)·Bᵀ."""

    def __init__(self, base: nn.Module, a_ri: Tensor, b_or: Tensor, scaling: float, dropout: float):
        super().__init__()
        self.base = base
        self.a_ri, self.b_or = nn.Parameter(a_ri), nn.Parameter(b_or)
        self.scaling, self.dropout = scaling, dropout

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        dropped = nn.functional.dropout(x, self.dropout, training=torch.is_grad_enabled())
        return y + self.scaling * ((dropped @ self.a_ri.T) @ self.b_or.T)


class HiddenStates(Protocol):
    """Hidden states after the base's first `layers` layers, for rows, shape (R, S, H)."""

    layers: int

    def of(self, batch: RowBatch) -> Tensor: ...


class RewardNetwork:
    """A private copy of the base's modules, which shares its weights.

    Scoring happens in the process that trains adapters on the same base: whatever is attached
    there, or here, the other must not see.
    """

    def __init__(self, base: BaseModel, adapters: Sequence[LoraAdapter] = ()):
        self.decoder = Decoder(_private(base.model))
        self.head_H = torch.zeros(base.model.config.hidden_size, device=self.decoder.device)
        for adapter in adapters:
            self.attach(adapter)
            if adapter.score_H is not None:
                self.head_H = adapter.score_H.to(self.decoder.device)

    def attach(self, adapter: LoraAdapter, dropout: float = 0.0) -> dict[str, LoraLinear]:
        """Add an adapter to those that are attached; returns its layers by module."""
        found = {}
        for module in adapter.modules:
            path, name = module.rsplit(".", 1)
            block = self.decoder.model.model.get_submodule(path)
            layer = LoraLinear(
                getattr(block, name),
                adapter.a[module].to(self.decoder.device, copy=True),
                adapter.b[module].to(self.decoder.device, copy=True),
                adapter.scaling(module),
                dropout,
            )
            setattr(block, name, layer)
            found[module] = layer
        return found

    def fresh_adapter(self, top_layers: int, rank: int, alpha: float, seed: int) -> LoraAdapter:
        """Of all linear layers of the top layers. It starts as PEFT's: A random, B zero."""
        generator = torch.Generator().manual_seed(seed)
        a, b = {}, {}
        for index in range(self.below(top_layers), self.decoder.n_layers):
            layer = self.decoder.model.model.layers[index]
            for block in ("self_attn", "mlp"):
                for target in TARGETS:
                    linear = getattr(getattr(layer, block), target, None)
                    if linear is None:
                        continue
                    outputs, inputs = _weight(linear).shape
                    random_ri = torch.rand((rank, inputs), generator=generator)
                    bound = math.sqrt(1 / inputs)  # Kaiming uniform with a = √5
                    a[f"layers.{index}.{block}.{target}"] = (2 * random_ri - 1) * bound
                    b[f"layers.{index}.{block}.{target}"] = torch.zeros((outputs, rank))
        return LoraAdapter(a, b, None, alpha)

    def below(self, top_layers: int) -> int:
        """How many layers are below the top ones."""
        return max(0, self.decoder.n_layers - top_layers)

    def hidden(self, batch: RowBatch, states: HiddenStates, layers: int | None = None) -> Tensor:
        """The hidden states after the first `layers` layers, all by default."""
        device = self.decoder.device
        to = self.decoder.n_layers if layers is None else layers
        return self.decoder.run(
            states.of(batch),
            range(states.layers, to),
            batch.positions_RS.to(device),
            batch.mask_RSS.to(device),
        )

    def last_hidden(self, batch: RowBatch, states: HiddenStates) -> Tensor:
        """norm(h_last) of the batch's sequences, shape (Q, H)."""
        row_Q, slot_Q = batch.ends_2Q.to(self.decoder.device)
        hidden_QH = self.hidden(batch, states)[row_Q, slot_Q]
        normed_QH: Tensor = self.decoder.model.model.norm(hidden_QH)
        return normed_QH

    def rewards(self, batch: RowBatch, states: HiddenStates) -> Tensor:
        """Scores of the batch's sequences, shape (Q,)."""
        return self.last_hidden(batch, states) @ self.head_H

    @torch.no_grad()
    def score(
        self,
        sequences: Sequence[TokenSequence],
        states: HiddenStates | None = None,
        report: Report | None = None,
    ) -> Floats:
        """Scores in float64, one a sequence; `states` saves computing the layers below."""
        states = states or Embedded(self.decoder)
        found: dict[TokenSequence, float] = {}
        for batch in batches(sequences):
            scores_Q = self.rewards(batch, states).double().cpu().tolist()
            found.update(zip(batch.sequences, scores_Q, strict=True))
            if report:
                report(len(found), len(set(sequences)))
        return np.array([found[each] for each in sequences], dtype=np.float64)


class Embedded:
    """The states below the first layer: the tokens' embeddings."""

    layers = 0

    def __init__(self, decoder: Decoder):
        self._decoder = decoder

    def of(self, batch: RowBatch) -> Tensor:
        return self._decoder.embed(batch.tokens_RS.to(self._decoder.device))


def _private(module: Any) -> Any:
    """A copy of a module and all below it, down to the weights, which are shared.

    What a round's training has put in place of linear layers is left out.
    """
    while isinstance(module, StackedLinear):
        module = module.base
    twin = copy.copy(module)
    twin._parameters, twin._buffers = dict(module._parameters), dict(module._buffers)
    twin._modules = {name: _private(child) for name, child in module._modules.items()}
    return twin


def _weight(linear: Any) -> Tensor:
    """Of the layer itself, below the adapters that are attached."""
    while isinstance(linear, LoraLinear):
        linear = linear.base
    weight: Tensor = linear.weight
    return weight
