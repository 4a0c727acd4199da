"""A mean over pairs that come in prompts, and how sure it is: pairs of a prompt aren't independent.

With s_g the sum of the values a ∈ [0, 1] of prompt g's n_g pairs, K = Σ n_g pairs and G prompts:

    ā = Σ_g s_g / K,    SE² = G/(G−1) · Σ_g (s_g − n_g·ā)² / K²      (Liang & Zeger 1986)

The 95 % interval covers two. One is the percentile bootstrap of whole prompts (Davison & Hinkley
1997, §3.8), which knows of the values' shape. It is nothing where all pairs are ranked alike, and
too narrow with few prompts, so the other is Wilson's (1927) with an effective number of pairs
m = ā(1−ā)/SE², at most K, and Student's quantile t of G − 1 degrees of freedom for the normal one:

    (ā + t²/2m ± t·√(ā(1−ā)/m + t²/4m²)) / (1 + t²/m)

Where no prompt differs from another SE = 0 tells nothing, and m is Kish's K²/Σ n_g², what the
prompts count if all pairs of each say the same: G prompts all right give G/(G + t²) and up, near
the rule of three. A single prompt tells nothing of others: its interval is [0, 1].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from api_schemas.report_cards import Figure
from workers.mechanism.arrays import Floats

_DRAWS = 2000
_SEED = 0
_TAIL = 0.025


@dataclass(frozen=True)
class ClusteredMean:
    """A mean with its standard error, None for a single cluster, and a 95 % interval."""

    value: float
    standard_error: float | None
    low: float
    high: float


def clustered_mean(values: Floats, clusters: Sequence[str]) -> ClusteredMean:
    """The mean of `values` in [0, 1], which depend on each other within a cluster.

    The same for any order of the values. Raises ValueError for no value, and for lengths that
    differ.
    """
    sums_G, counts_G = _by_cluster(values, clusters)
    value = float(sums_G.sum() / counts_G.sum())
    error = _standard_error(sums_G, counts_G)
    if error is None:
        return ClusteredMean(value, None, 0.0, 1.0)
    redrawn, wilson = _redrawn(sums_G, counts_G), _wilson(value, error, counts_G)
    low, high = min(redrawn[0], wilson[0], value), max(redrawn[1], wilson[1], value)
    return ClusteredMean(value, error, max(0.0, low), min(1.0, high))


def clustered_standard_error(values: Floats, clusters: Sequence[str]) -> float | None:
    """SE of the mean when values within a cluster depend on each other; None for one cluster."""
    return _standard_error(*_by_cluster(values, clusters))


def mean_figure(name: str, values: Floats, clusters: Sequence[str]) -> Figure:
    """The mean of the values and its clustered standard error, for a report card."""
    error = clustered_standard_error(values, clusters)
    return Figure(name=name, value=float(values.mean()), standard_error=error)


def _by_cluster(values: Floats, clusters: Sequence[str]) -> tuple[Floats, Floats]:
    """The sum and the number of the values of each cluster."""
    if len(values) != len(clusters) or not len(values):
        raise ValueError(f"{len(values)} values in {len(clusters)} clusters; one each, at least 1")
    places = {name: g for g, name in enumerate(sorted(set(clusters)))}
    place_K = np.array([places[name] for name in clusters])
    sums_G = np.bincount(place_K, weights=values).astype(np.float64)
    return sums_G, np.bincount(place_K).astype(np.float64)


def _standard_error(sums_G: Floats, counts_G: Floats) -> float | None:
    clusters, total = len(sums_G), counts_G.sum()
    if clusters < 2:
        return None
    off_G = sums_G - counts_G * (sums_G.sum() / total)
    return math.sqrt(clusters / (clusters - 1) * float(off_G @ off_G)) / float(total)


def _redrawn(sums_G: Floats, counts_G: Floats) -> tuple[float, float]:
    """The middle 95 % of the mean over as many clusters, drawn with replacement.

    Clusters with the same sum and count are drawn as one kind: there are few kinds.
    """
    kinds, frequency = np.unique(np.stack([sums_G, counts_G]), axis=1, return_counts=True)
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(len(sums_G), frequency / len(sums_G), size=_DRAWS).astype(np.float64)
    means = (drawn @ kinds[0]) / (drawn @ kinds[1])
    low, high = np.quantile(means, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def _wilson(value: float, error: float, counts_G: Floats) -> tuple[float, float]:
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    total = float(counts_G.sum())
    pairs = total**2 / float(counts_G @ counts_G)
    if error > 1e-9:  # not the rounding of equal sums
        pairs = min(total, value * (1 - value) / error**2)
    square = float(stdtrit(len(counts_G) - 1, 1 - _TAIL)) ** 2 / pairs
    half = math.sqrt(square * value * (1 - value) + square**2 / 4)
    return (value + square / 2 - half) / (1 + square), (value + square / 2 + half) / (1 + square)
