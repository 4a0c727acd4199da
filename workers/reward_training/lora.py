"""LoRA adapters with a score head, of one base model: combined exactly, and saved as PEFT does.

Each adapted linear layer adds s·B·A to its weight, A of shape (r, inputs), B (outputs, r), and
s = alpha/r, or alpha/√r with `use_rslora` (Hu et al. 2021, arXiv 2106.09685; Kalajdzievski 2023,
arXiv 2312.03732).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from api_schemas.errors import InvalidInput
from workers.rewards.adapter_shapes import AdapterShapes

SCORE_KEY = "base_model.model.score.weight"


@dataclass(frozen=True, eq=False)
class LoraAdapter:
    """A and B by module, `layers.3.mlp.up_proj`, and the head's weights, or None without a head."""

    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]
    score_H: Tensor | None
    alpha: float
    use_rslora: bool = False

    def scaling(self, module: str) -> float:
        """s of the module."""
        rank = self.a[module].shape[0]
        return self.alpha / (math.sqrt(rank) if self.use_rslora else rank)

    @cached_property
    def modules(self) -> list[str]:
        return sorted(self.a)

    def tensors(self) -> dict[str, Tensor]:
        """Under the names of PEFT's adapters for sequence classification."""
        found = {} if self.score_H is None else {SCORE_KEY: self.score_H[None]}
        for module in self.modules:
            for kind, matrices in (("A", self.a), ("B", self.b)):
                found[f"base_model.model.model.{module}.lora_{kind}.weight"] = matrices[module]
        return found

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        shapes: AdapterShapes,
        *,
        alpha: float,
        use_rslora: bool = False,
        param: str = "reward_model.file_id",
    ) -> Self:
        """Raises InvalidInput (`param`) for weights that aren't finite, naming the tensor."""
        for name, tensor in sorted(tensors.items()):
            if not bool(torch.isfinite(tensor.float()).all()):
                raise InvalidInput(f"tensor {name!r} holds NaN or infinite weights", param=param)
        return cls(
            {module: tensors[name].float() for module, name in shapes.a.items()},
            {module: tensors[name].float() for module, name in shapes.b.items()},
            None if shapes.score is None else tensors[shapes.score][0].float(),
            alpha,
            use_rslora,
        )


def combined(parts: Sequence[tuple[float, LoraAdapter]]) -> LoraAdapter:
    """Σ_k c_k·(s_k·B_k·A_k) on every module, exactly, and Σ_k c_k·head_k of those with a head.

    The sum of products is the product of the factors side by side, so that its rank is the sum of
    the ranks; averaging A and B themselves would give another matrix. All modules get the largest
    rank, with zeros where there is less, and alpha is that rank: then s = 1.
    """
    modules = sorted({module for _, part in parts for module in part.a})
    rank = max(sum(len(part.a[m]) for _, part in parts if m in part.a) for m in modules)
    a, b = {}, {}
    for module in modules:
        own = [(c * part.scaling(module), part) for c, part in parts if module in part.a]
        a[module] = _padded(torch.cat([part.a[module] for _, part in own]), rank)
        b_ro = torch.cat([factor * part.b[module].T for factor, part in own])
        b[module] = _padded(b_ro, rank).T.contiguous()
    heads = [c * part.score_H for c, part in parts if part.score_H is not None]
    return LoraAdapter(a, b, torch.stack(heads).sum(0) if heads else None, alpha=float(rank))


def _padded(rows: Tensor, rank: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros((rank - len(rows), rows.shape[1]))])
