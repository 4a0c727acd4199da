"""Every world's choice among finitely many models: trained adapters and the initial model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workers.mechanism.arrays import Floats, Indices, Mask, checked_finite
from workers.mechanism.worlds import WorldValues, checked_sizes, membership, welfare


@dataclass(frozen=True, eq=False)
class Choice:
    """What each world chose.

    `candidate_W`: index on the K axis. `welfare_W`: ASW of the world's choice in that world.
    `values`: what payments need of the chosen models.
    """

    candidate_W: Indices
    welfare_W: Floats
    values: WorldValues


def eligible_candidates(touched_KN: Mask) -> Mask:
    """Which candidates each world may choose, shape (W, K).

    `touched_KN`: whether a candidate was trained on a group's report; all False for π₀. The grand
    world may choose everything, the world without i only what i's report has not touched: else
    i's payment would depend on what i says. Raises ValueError unless some candidate, such as π₀,
    is free of every report. docs/mechanism.md §4.
    """
    if touched_KN.ndim != 2 or touched_KN.dtype != np.bool_:
        raise ValueError(
            f"touched_KN has shape {touched_KN.shape} of {touched_KN.dtype}, expected (K, N) of "
            "bool"
        )
    if touched_KN.any(axis=1).all():
        raise ValueError("every candidate was trained on a report: the initial model is missing")
    everything_1K = np.ones((1, len(touched_KN)), dtype=bool)
    return np.concatenate([everything_1K, ~touched_KN.T])


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
