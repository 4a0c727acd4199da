"""The pool game prompt by prompt, for pools that don't fit in memory: all payments in O(N·X·J).

A prompt's rewards are read some groups at a time, twice: once for S = Σᵢ wᵢ rᵢ, once for what each
group costs. Nothing but sums over prompts is kept. docs/mechanism.md §2.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from workers.mechanism.arrays import Floats, checked
from workers.mechanism.externalities import KLOptimum, L2Optimum, PromptOptimum
from workers.mechanism.payments import Payments
from workers.mechanism.regularizers import REGULARIZERS
from workers.mechanism.worlds import checked_sizes

BLOCK = 2**17
"""Rewards read and worked on at once; their intermediate results then stay in the cache."""

Work = TypeVar("Work")
Done = TypeVar("Done")


class Each(Protocol):
    """`map`, or something that works on several items at a time and yields in their order."""

    def __call__(
        self, function: Callable[[Work], Done], items: Iterable[Work], /
    ) -> Iterator[Done]: ...


class Rows(Protocol):
    """rᵢ(j) ∈ [0, 1] of one prompt, read a range of groups at a time; an array (N, J) is one."""

    def __getitem__(self, groups: slice, /) -> Floats: ...


@dataclass(frozen=True, eq=False)
class PromptPool:
    """One prompt: its weight ρ_x, the base weights q(j|x), which sum to 1, and its rewards."""

    weight: float
    base_J: Floats
    rewards: Rows


@dataclass(frozen=True, eq=False)
class StreamedGame:
    """What all prompts share: sizes wᵢ, λ > 0, the regulariser, and whether to seek surcharges."""

    sizes_N: Floats
    coefficient: float
    regularizer: str = "kl"
    with_surcharges: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes_N", checked_sizes(self.sizes_N))
        if not (np.isfinite(self.coefficient) and self.coefficient > 0):
            raise ValueError(f"coefficient = {self.coefficient} is not positive and finite")
        if self.regularizer not in REGULARIZERS:
            raise ValueError(
                f"regularizer = {self.regularizer!r}, expected one of {sorted(REGULARIZERS)}"
            )


@dataclass(frozen=True, eq=False)
class GroupTerms:
    """Of each group on one prompt, or on all: value wᵢ vᵢ(ψ), payment, surcharge, extreme rewards.

    `surcharges_N` is +inf throughout unless surcharges are sought.
    """

    values_N: Floats
    payments_N: Floats
    surcharges_N: Floats
    smallest_N: Floats
    largest_N: Floats


@dataclass(frozen=True, eq=False)
class PromptTerms:
    """A prompt's part of the sums over prompts; nothing is multiplied by its weight yet."""

    weight: float
    policy_J: Floats
    divergence: float
    welfare: float
    groups: GroupTerms


@dataclass(frozen=True, eq=False)
class StreamedOutcome:
    """The outcome of the affine maximizer on the whole pool; `surcharges_N` if they were sought."""

    divergence: float
    welfare: float
    valuations_N: Floats
    payments: Payments
    surcharges_N: Floats | None
    smallest_N: Floats
    largest_N: Floats


def solve_prompt(
    game: StreamedGame, prompt: PromptPool, block: int = BLOCK, each: Each = map
) -> PromptTerms:
    """The optimum of one prompt, and what each group costs the others there.

    Reads `prompt.rewards` twice, at most max(block, J) numbers at once; `each` may work on several
    ranges of groups at a time. The results depend on neither.
    """
    base_J = checked("base_J", prompt.base_J, (None,))
    ranges = _ranges(len(game.sizes_N), len(base_J), block)
    welfare_J = np.zeros(len(base_J))
    for part_J in each(lambda groups: _weighted_rewards(game, prompt, groups), ranges):
        welfare_J += part_J
    optimum = _optimum(game, base_J, welfare_J)
    terms = list(each(lambda groups: _group_terms(game, prompt, optimum, groups), ranges))
    joined = (np.concatenate(field) for field in zip(*terms, strict=True))
    return PromptTerms(
        prompt.weight,
        optimum.policy_J,
        optimum.divergence,
        optimum.welfare,
        GroupTerms(*joined),
    )


def _ranges(groups: int, responses: int, block: int) -> list[slice]:
    step = max(1, block // responses)
    return [slice(start, min(start + step, groups)) for start in range(0, groups, step)]


def _rewards(game: StreamedGame, prompt: PromptPool, groups: slice) -> Floats:
    count = len(game.sizes_N[groups])
    return checked("rewards", prompt.rewards[groups], (count, len(prompt.base_J)))


def _weighted_rewards(game: StreamedGame, prompt: PromptPool, groups: slice) -> Floats:
    """The range's part of S(j) = Σᵢ wᵢ rᵢ(j)."""
    part_J: Floats = (_rewards(game, prompt, groups) * game.sizes_N[groups, None]).sum(axis=0)
    return part_J


def _optimum(game: StreamedGame, base_J: Floats, welfare_J: Floats) -> PromptOptimum:
    if game.regularizer == "kl":
        return KLOptimum(base_J, welfare_J, game.coefficient)
    return L2Optimum(base_J, welfare_J, game.coefficient, float(game.sizes_N.max()))


def _group_terms(
    game: StreamedGame, prompt: PromptPool, optimum: PromptOptimum, groups: slice
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """The fields of `GroupTerms` for a range of groups."""
    rewards_NJ = _rewards(game, prompt, groups)
    own_NJ = rewards_NJ * game.sizes_N[groups, None]
    costs = optimum.costs(own_NJ, game.with_surcharges)
    gains_N = costs.least_gains_N
    return (
        (own_NJ * optimum.policy_J).sum(axis=1),
        costs.payments_N,
        np.full(len(own_NJ), np.inf) if gains_N is None else prompt.weight * gains_N,
        rewards_NJ.min(axis=1),
        rewards_NJ.max(axis=1),
    )


def add_prompts(game: StreamedGame, prompts: Iterable[PromptTerms]) -> StreamedOutcome:
    """The expectation over prompts, added in the order they come in, whatever computed them.

    uᵢ = wᵢ vᵢ(ψ) − pᵢ and ASW₋ᵢ(ψ₋ᵢ) = ASW(ψ) − uᵢ. docs/mechanism.md §1.
    """
    groups = len(game.sizes_N)
    divergence = welfare = 0.0
    values_N, payments_N = np.zeros(groups), np.zeros(groups)
    least_N, smallest_N = np.full(groups, np.inf), np.full(groups, np.inf)
    largest_N = np.full(groups, -np.inf)
    for prompt in prompts:
        divergence += prompt.weight * prompt.divergence
        welfare += prompt.weight * prompt.welfare
        values_N += prompt.weight * prompt.groups.values_N
        payments_N += prompt.weight * prompt.groups.payments_N
        np.minimum(least_N, prompt.groups.surcharges_N, out=least_N)
        np.minimum(smallest_N, prompt.groups.smallest_N, out=smallest_N)
        np.maximum(largest_N, prompt.groups.largest_N, out=largest_N)
    utilities_N = values_N - payments_N
    payments = Payments(welfare - utilities_N, welfare - values_N, payments_N, utilities_N)
    return StreamedOutcome(
        divergence=divergence,
        welfare=welfare,
        valuations_N=values_N / game.sizes_N,
        payments=payments,
        surcharges_N=least_N if game.with_surcharges else None,
        smallest_N=smallest_N,
        largest_N=largest_N,
    )
