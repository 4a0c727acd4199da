"""Elastic Reset: now and then the policy falls back on its own moving average.

Noukhovitch, Lavoie, Strub & Courville, "Language Model Alignment with Elastic Reset", NeurIPS 2023
(arXiv 2312.07551), algorithm 1. With θ the adapter, θ₀ the initial one and η the decay:

    after every step             θ̄ ← η θ̄ + (1 − η) θ
    then, every k steps          θ ← θ̄,  θ̄ ← θ₀

The optimiser keeps its state. θ is the adapter's matrices A and B, each averaged by itself, as the
paper averages parameters; the product of the averages isn't the average of the products.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from api_schemas.training import ElasticReset


class ElasticResets:
    """The moving average of parameters, and the resets that it serves.

    Element by element: no world's average depends on another world.
    """

    def __init__(self, parameters: Sequence[Tensor], settings: ElasticReset):
        self.parameters, self.settings = parameters, settings
        self.initial = [parameter.detach().clone() for parameter in parameters]
        self.average = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Called once after every step of the optimiser, with the number of steps done."""
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.mul_(self.settings.decay).add_(parameter, alpha=1 - self.settings.decay)
        if step % self.settings.every == 0:
            self._reset()

    def _reset(self) -> None:
        mode = self.settings.mode
        kept = zip(self.parameters, self.average, self.initial, strict=True)
        for parameter, average, initial in kept:
            parameter.copy_(initial if mode == "reset_to_init" else average)
            if mode == "elastic":
                average.copy_(initial)

    def kept_tensors(self) -> dict[str, Tensor]:
        """What later steps depend on besides the parameters; θ₀ follows from the seed."""
        return {f"average.{index}": average for index, average in enumerate(self.average)}
