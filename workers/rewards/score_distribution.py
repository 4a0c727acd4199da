"""Where the raw scores of a reward model lie, and the histogram of both sides of the pairs."""

from collections.abc import Sequence

import numpy as np

from api_schemas.report_cards import ScoreDistribution
from workers.mechanism.arrays import Floats

BINS = 20


def score_distribution(
    chosen: Floats, rejected: Floats, decided: Sequence[bool]
) -> ScoreDistribution | None:
    """Of the finite scores of both responses of each pair; None for no pair.

    The histogram is of the decided pairs. Sums are of scores divided by the largest one, so that
    scores near the largest float don't overflow.
    """
    scores = np.concatenate([chosen, rejected])
    if not len(scores):
        return None
    scale = float(np.abs(scores).max()) or 1.0
    scaled = scores / scale
    edges = _edges(float(scaled.min()), float(scaled.max()))
    mask = np.asarray(decided, dtype=bool)
    return ScoreDistribution(
        mean=float(scaled.mean()) * scale,
        standard_deviation=float(scaled.std()) * scale,
        minimum=float(scores.min()),
        maximum=float(scores.max()),
        edges=[edge * scale for edge in edges.tolist()],
        chosen=_counts(chosen[mask] / scale, edges),
        rejected=_counts(rejected[mask] / scale, edges),
    )


def _edges(low: float, high: float) -> Floats:
    """Equal steps from the least to the largest; a constant has one bin, which is itself."""
    if low == high:
        return np.array([low, high])
    return np.linspace(low, high, BINS + 1)


def _counts(scores: Floats, edges: Floats) -> list[int]:
    """How many scores lie in each bin; the last one holds its upper edge too."""
    bins = len(edges) - 1
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, bins - 1)
    counts: list[int] = np.bincount(place, minlength=bins).tolist()
    return counts
