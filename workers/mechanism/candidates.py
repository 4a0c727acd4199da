"""Every world's choice among finitely many models: trained adapters and the initial model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workers.mechanism.arrays import Floats, Indices, Mask, checked_finite
from workers.mechanism.worlds import GRAND, WorldValues, checked_sizes, membership, welfare

INITIAL = -1
"""The `trained_world` of the initial model π₀, which no report has touched."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What each world chose.

    `candidate_W`: index on the K axis. `welfare_W`: ASW of the world's choice in that world.
    `values`: what payments need of the chosen models.
    """

    candidate_W: Indices
    welfare_W: Floats
    values: WorldValues


def eligible_candidates(trained_world_K: Sequence[int], groups: int) -> Mask:
    """Which candidates each world may choose, shape (W, K).

    `trained_world_K`: the world whose rewards trained the candidate: INITIAL (−1), GRAND (0), or
    1 + i for the world without i. The grand world may choose everything, the world without i only
    π₀ and its own models: anything else was trained on i's report, and i's payment would depend on
    what i says. Raises ValueError without π₀ or for an unknown world. docs/mechanism.md §4.
    """
    trained_K = np.asarray(trained_world_K, dtype=np.int64)
    if trained_K.ndim != 1 or INITIAL not in trained_K:
        raise ValueError(f"candidates {trained_K.tolist()} lack the initial model ({INITIAL})")
    if trained_K.min() < INITIAL or trained_K.max() > groups:
        raise ValueError(f"candidates {trained_K.tolist()}: worlds go from {INITIAL} to {groups}")
    world_W1 = np.arange(groups + 1)[:, None]
    mask_WK: Mask = (trained_K == world_W1) | (trained_K == INITIAL) | (world_W1 == GRAND)
    return mask_WK


def choose(sizes: ArrayLike, valuations_KN: Floats, penalties_K: Floats, mask_WK: Mask) -> Choice:
    """ψ_world = argmax over the world's candidates of Σ_{i in world} wᵢ vᵢ − λ·D.

    `sizes` are the wᵢ, shape (N,); `penalties_K` is λ·D. Ties go to the lowest index, so list π₀
    first. With the mask of `eligible_candidates`, ASW(ψ) ≥ ASW(ψ₋ᵢ) ≥ ASW₋ᵢ(ψ₋ᵢ): nobody's utility
    is negative, whatever training did. SCWCD Def. 4.1; docs/mechanism.md §4.
    """
    sizes_N = checked_sizes(sizes)
    valuations_KN = checked_finite("valuations_KN", valuations_KN, (None, len(sizes_N)))
    penalties_K = checked_finite("penalties_K", penalties_K, (len(valuations_KN),))
    expected = (len(sizes_N) + 1, len(valuations_KN))
    if mask_WK.shape != expected or mask_WK.dtype != np.bool_:
        raise ValueError(
            f"mask_WK has shape {mask_WK.shape} of {mask_WK.dtype}, expected {expected} of bool"
        )
    if not mask_WK.any(axis=1).all():
        raise ValueError(f"world {int(mask_WK.any(axis=1).argmin())} may choose no candidate")
    welfare_WK = welfare(sizes_N, valuations_KN, penalties_K, membership(len(sizes_N)))
    candidate_W = np.where(mask_WK, welfare_WK, -np.inf).argmax(axis=1)
    return Choice(
        candidate_W=candidate_W,
        welfare_W=np.take_along_axis(welfare_WK, candidate_W[:, None], axis=1)[:, 0],
        values=WorldValues(valuations_KN[candidate_W], penalties_K[candidate_W]),
    )
