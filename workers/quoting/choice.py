"""Which of many stand for all."""

from collections.abc import Sequence
from typing import TypeVar

Each = TypeVar("Each")


def spread(items: Sequence[Each], count: int) -> list[Each]:
    """`count` of the items, evenly apart in their order; all of them if there are no more.

    >>> spread("abcdef", 3)
    ['b', 'd', 'f']
    """
    if count >= len(items):
        return list(items)
    return [items[(2 * place + 1) * len(items) // (2 * count)] for place in range(count)]
