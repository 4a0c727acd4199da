"""Rewarded Soups: one adapter a group, and interpolations of them on a grid of coefficients.

Ramé et al., NeurIPS 2023 (arXiv 2306.04488): models fine-tuned from one initialisation, each on
one reward, are interpolated linearly in their weights, Σᵢ cᵢ θᵢ with c on the simplex. An adapter
changes a layer's weight by s·B·A, which leaves two readings (`INTERPOLATIONS`): the average of the
trainable weights A and B, as in the paper, and the exact average of the changes B·A.
States are one adapter's matrices under PEFT's names, as `StackedAdapters.world_state` gives them.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from workers.training.stacked_lora import rank_of

State = dict[str, Tensor]
Coefficients = Sequence[Fraction]
"""cᵢ of each group: not negative, sum exactly 1."""


def grid_size(groups: int, steps: int) -> int:
    """How many points `simplex_grid` has: C(groups + steps − 1, steps)."""
    _check_grid(groups, steps)
    return math.comb(groups + steps - 1, steps)


def simplex_grid(groups: int, steps: int) -> list[tuple[Fraction, ...]]:
    """All coefficients that are multiples of 1/steps and sum to 1, in lexicographic order.

    The first point is (0, …, 0, 1), the last (1, 0, …, 0). Ask `grid_size` first: the list grows
    as steps^(groups − 1).
    """
    _check_grid(groups, steps)
    places = steps + groups - 1  # of `steps` units and the groups − 1 bars between the groups
    points = []
    for bars in itertools.combinations(range(places), groups - 1):
        edges = itertools.pairwise((-1, *bars, places))
        points.append(tuple(Fraction(right - left - 1, steps) for left, right in edges))
    return points


def touched_groups(coefficients: Coefficients) -> list[int]:
    """The groups on whose reports an interpolation depends: those with a positive coefficient."""
    return [group for group, c in enumerate(coefficients) if c > 0]


def average(states: Sequence[State], coefficients: Coefficients) -> State:
    """A = Σᵢ cᵢ Aᵢ and B = Σᵢ cᵢ Bᵢ, summed in float64; an adapter with c = 1 keeps every bit.

    The change of a layer is then s·Σᵢⱼ cᵢ cⱼ Bᵢ Aⱼ, cross terms included: the paper's average of
    the trainable weights. Raises ValueError as `_check` does.
    """
    _check(states, coefficients)
    return {key: _weighted_sum([state[key] for state in states], coefficients) for key in states[0]}


def delta(states: Sequence[State], coefficients: Coefficients) -> State:
    """One adapter with B·A = Σᵢ cᵢ Bᵢ Aᵢ, of the rank of all groups with cᵢ > 0 together.

    Rows of the Aᵢ under each other, columns of the cᵢ Bᵢ side by side: exact but for the rounding
    of cᵢ Bᵢ. The scaling s must stay as it is, so its alpha is `alpha_at_rank(…, rank_of(state))`.
    Raises ValueError as `_check` does.
    """
    _check(states, coefficients)
    chosen = [(states[i], coefficients[i]) for i in touched_groups(coefficients)]
    return {
        key: torch.cat([_scaled(state[key], c) for state, c in chosen], 1)
        if ".lora_B." in key
        else torch.cat([state[key] for state, _ in chosen], 0)
        for key in states[0]
    }


INTERPOLATIONS: Mapping[str, Callable[[Sequence[State], Coefficients], State]] = {
    "average": average,
    "delta": delta,
}
"""By the name that an announcement uses."""


def _weighted_sum(tensors: Sequence[Tensor], coefficients: Coefficients) -> Tensor:
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    for group in touched_groups(coefficients):
        total += float(coefficients[group]) * tensors[group].double()
    return total.to(tensors[0].dtype)


def _scaled(tensor: Tensor, coefficient: Fraction) -> Tensor:
    return (float(coefficient) * tensor.double()).to(tensor.dtype)


def _check_grid(groups: int, steps: int) -> None:
    if groups < 1 or steps < 1:
        raise ValueError(f"a grid of {groups} groups and {steps} steps; both are at least 1")


def _check(states: Sequence[State], coefficients: Coefficients) -> None:
    """Raise ValueError for coefficients off the simplex, or adapters of different shapes."""
    if len(coefficients) != len(states) or not states:
        raise ValueError(f"{len(coefficients)} coefficients for {len(states)} adapters")
    shown = [str(c) for c in coefficients]
    for group, c in enumerate(coefficients):
        if c < 0:
            raise ValueError(f"coefficients[{group}] = {c} of {shown} is not 0 or more")
    total = sum(coefficients)
    if total != 1:
        raise ValueError(f"coefficients {shown} sum to {total}, expected 1")
    for group, state in enumerate(states):
        _check_like(group, state, states[0])


def _check_like(group: int, state: State, first: State) -> None:
    if state.keys() != first.keys():
        differing = sorted(state.keys() ^ first.keys())
        raise ValueError(f"adapter {group} and adapter 0 differ in {differing}")
    for key, tensor in state.items():
        if tensor.shape != first[key].shape or tensor.dtype != first[key].dtype:
            raise ValueError(
                f"{key} is {tuple(tensor.shape)} of {tensor.dtype} in adapter {group}, "
                f"{tuple(first[key].shape)} of {first[key].dtype} in adapter 0"
            )
    rank_of(state)
