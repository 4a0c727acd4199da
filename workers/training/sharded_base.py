"""A frozen base model whose layers lie in equal parts on all workers of a training (FSDP2).

Each layer is gathered for the moment in which a worker computes with it. FSDP takes for granted
that all workers run the same layers in the same order. Ours don't: they draw responses of different
lengths, and have different numbers of prompts. So a layer is gathered by agreement (`Turns`); what
FSDP2 does by itself is to keep the parts, and to let go of a layer that has been used.

The adapters are on every worker, as without it, and their gradients are added up as ever: the
gathered weights have the same bits, so nothing that is computed changes. Embeddings, the head and
the last norm stay whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from workers.base_models import BaseModel


def shard(base: BaseModel, device: str) -> "Turns":
    """Leave every worker its part of each layer, on `device`; all workers call it together.

    `base` is changed: it must be nobody else's. Its weights may be anywhere before.
    """
    layers = list(base.model.model.layers)
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    base.model.to(device)
    turns = Turns(layers)
    for place, layer in enumerate(layers):
        _gather_before_use(turns, place, layer)
    return turns


@dataclass(frozen=True)
class Turns:
    """Which layer all workers gather next.

    Every worker says which it needs, and the lowest is gathered by all: who is behind catches up,
    and from there they go on together. Who needs another lets go of it at once.
    """

    layers: Sequence[Any]

    def gather(self, place: int) -> None:
        """Take part in the others' gatherings until the layer at `place` has been gathered."""
        while self._next(place) != place:
            pass

    def rest(self) -> None:
        """Take part until every worker rests."""
        while self._next(len(self.layers)) < len(self.layers):
            pass

    def _next(self, wanted: int) -> int:
        lowest = torch.tensor(wanted)
        torch.distributed.all_reduce(lowest, op=torch.distributed.ReduceOp.MIN)
        chosen = int(lowest)
        if chosen < len(self.layers):
            layer = self.layers[chosen]
            kept = chosen == wanted or is_whole(layer)
            layer.reshard()  # one that is whole here would not be gathered, and the others wait
            layer.unshard()
            if not kept:
                layer.reshard()
        return chosen


def is_whole(layer: Any) -> bool:
    return not isinstance(next(layer.parameters()), DTensor)


def _gather_before_use(turns: Turns, place: int, layer: Any) -> None:
    """Hooks that run before FSDP's own, which then find the layer gathered."""

    def gather(*_: Any) -> None:
        if not is_whole(layer):
            turns.gather(place)

    def before_backward(gradient: Tensor) -> Tensor:
        gather()
        return gradient

    def after_forward(_layer: Any, _inputs: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(before_backward)

    layer.register_forward_pre_hook(gather, prepend=True)
    layer.register_forward_hook(after_forward, prepend=True)
