"""What a world's model is worth on a pool: welfare, and the reward and divergence it is made of."""

import math
from dataclasses import dataclass

import numpy as np

from workers.mechanism.arrays import Floats
from workers.mechanism.regularizers import REGULARIZERS
from workers.mechanism.tilting import expectation, tilt


@dataclass(frozen=True)
class Worth:
    """`welfare` = `reward` − λ·`divergence`; Σᵢ wᵢ vᵢ in agent·reward units, D in its own unit."""

    welfare: float
    reward: float
    divergence: float


def world_welfare(weights_N: Floats, rewards_NXJ: Floats) -> Floats:
    """S(x, j) = Σᵢ wᵢ rᵢ(x, j), shape (X, J), over the groups whose weight isn't 0.

    The rewards of the others aren't touched: 0 · NaN would carry a failure into the world.
    """
    members = np.flatnonzero(weights_N)
    welfare_XJ = np.zeros(rewards_NXJ.shape[1:])
    for group in members:  # one by one, so that no other group changes the order of the sum
        welfare_XJ += weights_N[group] * rewards_NXJ[group]
    return welfare_XJ


def worth_on_pool(
    log_ratio_XJ: Floats,
    log_q_XJ: Floats,
    prompt_weights_X: Floats,
    welfare_XJ: Floats,
    coefficient: float,
    regularizer: str,
) -> Worth:
    """Of the policy π(j|x) ∝ q(j|x) exp(log π_θ − log π₀); docs/mechanism.md §2.

    `log_ratio_XJ` is log π_θ − log π₀ of whole responses. A model that has diverged, with a ratio
    that isn't a number, is worth NaN.
    """
    if np.isnan(log_ratio_XJ).any():
        return Worth(math.nan, math.nan, math.nan)
    policy = tilt(log_q_XJ, log_ratio_XJ)
    value_X = expectation(np.exp(policy.log_policy_XJ), welfare_XJ)
    divergence_X = REGULARIZERS[regularizer].divergence(policy, log_q_XJ)
    reward = float(prompt_weights_X @ value_X)
    divergence = float(prompt_weights_X @ divergence_X)
    return Worth(reward - coefficient * divergence, reward, divergence)
