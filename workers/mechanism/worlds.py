"""The game on the pool, its worlds, and the welfare of a policy in each of them.

World 0 is the grand world, of all groups; world 1 + i is the one without group i.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workers.mechanism.arrays import (
    Floats,
    checked,
    checked_finite,
    log_sum_exp,
    refuse_where,
)
from workers.mechanism.regularizers import REGULARIZERS, Regularizer

GRAND = 0
"""Index of the grand world on every `_W` axis."""

_SUM_TOLERANCE = 1e-6
"""How far probabilities may sum from 1 (float32 models leave 1e-7) before being rescaled to 1."""

_ROUNDING = 1e-14
"""How far probabilities scaled to sum 1 may sum from it in float64."""


@dataclass(frozen=True, eq=False)
class PoolGame:
    """The game restricted to the pool; what is fixed before the reports, and the reports.

    `log_q_XJ`: log base weights, −inf where the initial model never gives the response.
    `prompt_weights_X`: non-negative, sum 1. `coefficient`: λ > 0, agent·reward units per unit of
    the divergence. `sizes_N`: wᵢ, positive integers. `rewards_NXJ`: rᵢ(x, y_j) in [0, 1].
    `regularizer`: a name in `REGULARIZERS`.
    Raises ValueError with both shapes, or with the value that is out of range.
    """

    log_q_XJ: Floats
    prompt_weights_X: Floats
    coefficient: float
    sizes_N: Floats
    rewards_NXJ: Floats
    regularizer: str = "kl"

    def __post_init__(self) -> None:
        rewards_NXJ = checked_finite("rewards_NXJ", self.rewards_NXJ, (None, None, None))
        groups, prompts, responses = rewards_NXJ.shape
        outside = (rewards_NXJ < 0) | (rewards_NXJ > 1)
        refuse_where("rewards_NXJ", rewards_NXJ, outside, "is outside [0, 1]")
        if not (np.isfinite(self.coefficient) and self.coefficient > 0):
            raise ValueError(f"coefficient = {self.coefficient} is not positive and finite")
        if self.regularizer not in REGULARIZERS:
            raise ValueError(
                f"regularizer = {self.regularizer!r}, expected one of {sorted(REGULARIZERS)}"
            )
        fields = {
            "rewards_NXJ": rewards_NXJ,
            "coefficient": float(self.coefficient),
            "sizes_N": checked_sizes(self.sizes_N, groups),
            "log_q_XJ": _checked_log_q(self.log_q_XJ, prompts, responses),
            "prompt_weights_X": _checked_prompt_weights(self.prompt_weights_X, prompts),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def groups(self) -> int:
        return len(self.sizes_N)

    @property
    def divergence(self) -> Regularizer:
        """The announced distance from the initial model."""
        return REGULARIZERS[self.regularizer]

    @property
    def worlds(self) -> int:
        return self.groups + 1


@dataclass(frozen=True, eq=False)
class WorldValues:
    """The model of each world: `valuations_WN`, vᵢ for every group; `penalties_W`, its λ·D."""

    valuations_WN: Floats
    penalties_W: Floats


def checked_sizes(sizes: ArrayLike, groups: int | None = None) -> Floats:
    """Sizes wᵢ as float64, shape (N,). Raises ValueError unless they are positive integers."""
    sizes_N = checked_finite("sizes_N", sizes, (groups,))
    bad_N = (sizes_N < 1) | (sizes_N != np.floor(sizes_N))
    refuse_where("sizes_N", sizes_N, bad_N, "is not a positive integer")
    return sizes_N


def _checked_log_q(log_q: ArrayLike, prompts: int, responses: int) -> Floats:
    log_q_XJ = checked("log_q_XJ", log_q, (prompts, responses))
    refuse_where("log_q_XJ", log_q_XJ, np.isnan(log_q_XJ), "is not a number")
    log_mass_X = log_sum_exp(log_q_XJ)
    beside_one_X = ~(np.abs(log_mass_X) <= _SUM_TOLERANCE)
    refuse_where("log Σ_j q(j|x)", log_mass_X, beside_one_X, "should be 0")
    # Rescaling rounding noise would give a game rebuilt from its own fields other bits.
    return log_q_XJ - np.where(np.abs(log_mass_X) > _ROUNDING, log_mass_X, 0.0)[:, None]


def _checked_prompt_weights(weights: ArrayLike, prompts: int) -> Floats:
    weights_X = checked_finite("prompt_weights_X", weights, (prompts,))
    refuse_where("prompt_weights_X", weights_X, weights_X < 0, "is negative")
    total = float(weights_X.sum())
    if not abs(total - 1) <= _SUM_TOLERANCE:
        raise ValueError(f"prompt_weights_X sum to {total}, expected 1")
    return weights_X if abs(total - 1) <= _ROUNDING else weights_X / total


def membership(groups: int) -> Floats:
    """Which groups count in which world: 1.0 or 0.0, shape (groups + 1, groups).

    Row 0 is the grand world, row 1 + i the one without group i.
    """
    return np.concatenate([np.ones((1, groups)), 1.0 - np.eye(groups)])


def members_of(groups: int, world: int) -> Floats:
    """One row of the membership, shape (groups,)."""
    members_N = np.ones(groups)
    if world != GRAND:
        members_N[world - 1] = 0.0
    return members_N


def weighted_rewards(sizes_N: Floats, rewards_NXJ: Floats, members_WN: Floats) -> Floats:
    """S(x, j) = Σᵢ wᵢ rᵢ(x, j) over each world's groups; shape (W, X, J).

    Pass one row of the membership for one world's S: all rows at once take W·X·J floats.
    Source: docs/mechanism.md §2.
    """
    groups, prompts, responses = rewards_NXJ.shape
    checked("sizes_N", sizes_N, (groups,))
    checked("members_WN", members_WN, (None, groups))
    welfare_WXJ = np.zeros((len(members_WN), prompts, responses))
    # Added group by group: leaving out a group whose rewards are all 0 then changes no bit of S,
    # so that group pays exactly 0. A matrix product may reorder the sum and leave 1e-17.
    for members_W, size, rewards_XJ in zip(members_WN.T, sizes_N, rewards_NXJ, strict=True):
        welfare_WXJ += (members_W * size)[:, None, None] * rewards_XJ
    return welfare_WXJ


def valuations(policy_XJ: Floats, prompt_weights_X: Floats, rewards_NXJ: Floats) -> Floats:
    """vᵢ(π) = E_x Σ_j π(j|x) rᵢ(x, j), shape (N,), per agent. SCWCD Assumption 3.1."""
    values_N: Floats = np.einsum("x,xj,nxj->n", prompt_weights_X, policy_XJ, rewards_NXJ)
    return values_N


def own_welfare(
    sizes_N: Floats, valuations_WN: Floats, penalties_W: Floats, membership_WN: Floats
) -> Floats:
    """ASW_W(ψ_W): of each model in the world that it is for, shape (W,); bits as `welfare`'s."""
    groups = len(sizes_N)
    checked("valuations_WN", valuations_WN, (None, groups))
    checked("penalties_W", penalties_W, (len(valuations_WN),))
    checked("membership_WN", membership_WN, (len(valuations_WN), groups))
    values_W: Floats = (membership_WN * sizes_N * valuations_WN).sum(axis=-1)
    return values_W - penalties_W


def welfare(
    sizes_N: Floats, valuations_KN: Floats, penalties_K: Floats, membership_WN: Floats
) -> Floats:
    """ASW_W(K) = Σ_{i in world} wᵢ vᵢ(model) − penalty(model), shape (W, K).

    `penalties_K` is λ·D of each model. Source: docs/mechanism.md §1.
    """
    groups = len(sizes_N)
    checked("valuations_KN", valuations_KN, (None, groups))
    checked("penalties_K", penalties_K, (len(valuations_KN),))
    checked("membership_WN", membership_WN, (None, groups))
    # Products summed over the last axis, not a matrix product: two models with the same values
    # then get the same welfare to the last bit, whatever their place on the axis.
    # World by world: all at once are W·K·N numbers.
    values_WK = [(members_N * sizes_N * valuations_KN).sum(axis=-1) for members_N in membership_WN]
    return np.stack(values_WK) - penalties_K[None, :]
