"""How far the reward models of a round agree on its pool: for the operator's eyes only."""

from collections.abc import Sequence

import numpy as np

from workers.mechanism.arrays import Floats
from workers.rewards.ranks import standardised_ranks


def agreement(rewards_NXJ: Floats, weights_X: Floats) -> list[list[float | None]]:
    """Spearman's ρ between every two groups' rewards, within prompts, averaged by weight.

        A(i, k) = Σ_x ρ_x · Spearman_j(r_i(x, j), r_k(x, j)) / Σ_x ρ_x

    over the prompts x, of weight ρ_x, on which neither group is indifferent; None where there is
    no such prompt. Between prompts nothing is compared: a constant added to a group's rewards on
    one prompt changes no policy, and so nothing here.
    """
    groups = len(rewards_NXJ)
    sums_NN, weights_NN = np.zeros((groups, groups)), np.zeros((groups, groups))
    for rewards_NJ, weight in zip(rewards_NXJ.transpose(1, 0, 2), weights_X, strict=True):
        ranks = [standardised_ranks(rewards_J) for rewards_J in rewards_NJ]
        speaking = [i for i, each in enumerate(ranks) if each is not None]
        if not speaking:
            continue
        ranks_NJ = np.stack([each for each in ranks if each is not None])
        block = np.ix_(speaking, speaking)
        sums_NN[block] += weight * (ranks_NJ @ ranks_NJ.T)
        weights_NN[block] += weight
    return [
        _means(sums_N, weights_N) for sums_N, weights_N in zip(sums_NN, weights_NN, strict=True)
    ]


def _means(sums_N: Sequence[float] | Floats, weights_N: Floats) -> list[float | None]:
    return [
        float(np.clip(total / weight, -1.0, 1.0)) if weight else None
        for total, weight in zip(sums_N, weights_N, strict=True)
    ]
