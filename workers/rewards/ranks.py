"""Orders: which of two scores higher, and Spearman's rank correlation."""

import numpy as np

from workers.mechanism.arrays import Floats


def preferred(differences: Floats) -> Floats:
    """1 where the first of two scores is higher, ½ where both are the same, else 0; any shape.

    `differences` are the first scores less the second.
    """
    found: Floats = (np.sign(differences) + 1) / 2
    return found


def average_ranks(values: Floats) -> Floats:
    """Ranks 1, 2, … of a vector, from the smallest; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def standardised_ranks(values: Floats) -> Floats | None:
    """Ranks less their mean, at length 1: ρ of two is their product. None for a constant."""
    ranks = average_ranks(values)
    centred = ranks - (len(ranks) + 1) / 2
    length = float(np.sqrt(centred @ centred))
    return centred / length if length else None


def spearman(first: Floats, second: Floats) -> float | None:
    """ρ: the correlation of the ranks, in [−1, 1]; None where either vector is constant."""
    one, other = standardised_ranks(first), standardised_ranks(second)
    if one is None or other is None:
        return None
    return float(np.clip(one @ other, -1.0, 1.0))
