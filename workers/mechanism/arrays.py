"""Checked float64 arrays, and the sums in log space that the mechanism needs."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]


def checked(name: str, values: ArrayLike, shape: tuple[int | None, ...]) -> Floats:
    """`values` as float64 of the given shape; None accepts any length but 0.

    Raises ValueError naming both shapes. Nothing is broadcast: a weight of length 1 is an error.
    """
    array = np.asarray(values, dtype=np.float64)
    fits = array.ndim == len(shape) and all(
        length == wanted or (wanted is None and length > 0)
        for length, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted_shape = tuple("any" if wanted is None else wanted for wanted in shape)
        raise ValueError(f"{name} has shape {array.shape}, expected {wanted_shape}")
    return array


def checked_finite(name: str, values: ArrayLike, shape: tuple[int | None, ...]) -> Floats:
    """As `checked`; raises ValueError with the first value that isn't finite and its index."""
    array = checked(name, values, shape)
    refuse_where(name, array, ~np.isfinite(array), "is not finite")
    return array


def refuse_where(name: str, array: Floats, bad: Mask, complaint: str) -> None:
    """Raise ValueError `name[index] = value complaint` for the first element where `bad`."""
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name}{list(index)} = {array[index]} {complaint}")


def log_sum_exp(values: Floats) -> Floats:
    """log Σ_j exp(values_j) over the last axis; −inf terms count as 0, all −inf gives −inf."""
    peak = values.max(axis=-1, keepdims=True)
    peak = np.where(np.isneginf(peak), 0.0, peak)
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        total: Floats = np.log(np.exp(values - peak).sum(axis=-1)) + peak[..., 0]
    return total


def log_mean_exp(log_weights: Floats, exponents: Floats) -> Floats:
    """log Σ_j p_j exp(z_j) over the last axis, with p = exp(log_weights) summing to 1 and z ≤ 0.

    Where the mean is near 1 (a large λ), log1p Σ p·expm1(z) keeps the digits that adding numbers
    near 1 would lose; where it is small (a small λ), log-sum-exp keeps those of the tail.
    """
    with np.errstate(over="ignore", under="ignore"):
        change = (np.exp(log_weights) * np.expm1(exponents)).sum(axis=-1)
        near_one = np.log1p(np.maximum(change, -0.5))
        mean: Floats = np.where(change > -0.5, near_one, log_sum_exp(log_weights + exponents))
    return mean
