"""The exact optimum of every world on the pool, under the announced regulariser.

    ASW* = E_x max_π [ Σ_j π(j) S(x, j) − λ·D(π ‖ q(·|x)) ],  S = Σᵢ wᵢ rᵢ over the world's groups

prompt by prompt, as `workers.mechanism.regularizers` solves it. docs/mechanism.md §2.
"""

from dataclasses import dataclass

import numpy as np

from workers.mechanism.arrays import Floats, checked, log_mean_exp
from workers.mechanism.tilting import expectation
from workers.mechanism.worlds import (
    GRAND,
    PoolGame,
    WorldValues,
    members_of,
    valuations,
    weighted_rewards,
)


@dataclass(frozen=True, eq=False)
class PoolOptimum:
    """The welfare-maximal policy of one world on the pool.

    `log_policy_XJ`: log π*(j|x). `valuations_N`: vᵢ(π*) of every group, also of one the world
    leaves out. `divergence`: D(π* ‖ q), the prompts' mean. `welfare`: ASW*, agent·reward units.
    """

    log_policy_XJ: Floats
    valuations_N: Floats
    divergence: float
    welfare: float


@dataclass(frozen=True, eq=False)
class PoolSolution:
    """The optimum of all worlds; of the policies only the grand world's is kept."""

    log_policy_XJ: Floats
    values: WorldValues
    divergence_W: Floats
    welfare_W: Floats


def solve(game: PoolGame) -> PoolSolution:
    """The optimum of every world, one after another: O(W·N·X·J) time, O(X·J) memory beside r."""
    valuations_WN = np.empty((game.worlds, game.groups))
    divergence_W, welfare_W = np.empty(game.worlds), np.empty(game.worlds)
    # The grand world comes last, so that its policy is the one still held after the loop.
    for world in reversed(range(game.worlds)):
        best = optimum(game, world)
        valuations_WN[world] = best.valuations_N
        divergence_W[world], welfare_W[world] = best.divergence, best.welfare
    values = WorldValues(valuations_WN, game.coefficient * divergence_W)
    return PoolSolution(best.log_policy_XJ, values, divergence_W, welfare_W)


def optimum(game: PoolGame, world: int = GRAND) -> PoolOptimum:
    """The optimum of one world. Raises ValueError for a world that the game doesn't have."""
    if not 0 <= world < game.worlds:
        raise ValueError(f"world = {world}, expected 0 to {game.worlds - 1}")
    members_1N = members_of(game.groups, world)[None]
    welfare_XJ = weighted_rewards(game.sizes_N, game.rewards_NXJ, members_1N)[0]
    best = game.divergence.maximise(game.log_q_XJ, welfare_XJ, game.coefficient)
    policy_XJ = np.exp(best.log_policy_XJ)
    return PoolOptimum(
        log_policy_XJ=best.log_policy_XJ,
        valuations_N=valuations(policy_XJ, game.prompt_weights_X, game.rewards_NXJ),
        divergence=float(game.prompt_weights_X @ best.divergence_X),
        welfare=float(game.prompt_weights_X @ best.welfare_X),
    )


def payments_by_expectation(game: PoolGame, log_policy_XJ: Floats) -> Floats:
    """pᵢ = E_x [ wᵢ E_{π*} rᵢ + λ log E_{π*} exp(−wᵢ rᵢ/λ) ], shape (N,), agent·reward units.

    `log_policy_XJ` is the grand optimum's. Equals ASW₋ᵢ(ψ₋ᵢ) − ASW₋ᵢ(ψ) without solving any world
    without i; at least 0 by Jensen. An independent check of the payments. docs/mechanism.md §2.
    Raises ValueError unless the regulariser is KL: the formula is its own.
    """
    if game.regularizer != "kl":
        raise ValueError(f"regularizer = {game.regularizer!r}: the formula holds for 'kl' only")
    checked("log_policy_XJ", log_policy_XJ, game.log_q_XJ.shape)
    scale = game.coefficient
    payments_N = np.empty(game.groups)
    for i, (size, rewards_XJ) in enumerate(zip(game.sizes_N, game.rewards_NXJ, strict=True)):
        with np.errstate(over="ignore", under="ignore"):
            own_X = expectation(np.exp(log_policy_XJ), size * rewards_XJ)
            lost_X = scale * log_mean_exp(log_policy_XJ, -size * rewards_XJ / scale)
        payments_N[i] = game.prompt_weights_X @ (own_X + lost_X)
    return payments_N
