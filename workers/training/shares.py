"""How the work of a training step is spread over workers."""

from typing import Protocol

from torch import Tensor


class Shares(Protocol):
    """How the work of a step is spread over workers that train together."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over the workers."""


class Alone:
    """One worker does everything."""

    rank, size = 0, 1

    def add_up(self, tensors: list[Tensor]) -> None:
        pass
