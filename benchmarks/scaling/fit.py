"""Constants fitted to measurements, and how far they are off on others."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from .measuring import Measurement

CONSTANTS = ("flop", "logit", "call")


def fitted(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Seconds an operation, a logit and a call, none negative, of least squared relative error.

    minimise Σ_m (Σ_k c_k·u_mk / s_m − 1)² over c ≥ 0, on what is not held out.
    """
    used = [each for each in measurements if not each.held_out]
    return dict(
        zip(
            CONSTANTS,
            least_relative_squares(
                [each.numbers for each in used], [each.seconds for each in used]
            ),
            strict=True,
        )
    )


def least_relative_squares(
    units: Sequence[Sequence[float]], seconds: Sequence[float]
) -> list[float]:
    """c ≥ 0 that minimises Σ (units·c/seconds − 1)². Raises ValueError for fewer rows than c."""
    units_MK, seconds_M = np.array(units), np.array(seconds)
    if len(units_MK) < units_MK.shape[1]:
        raise ValueError(f"{len(units_MK)} measurements for {units_MK.shape[1]} constants")
    relative_MK = units_MK / seconds_M[:, None]
    scale_K = relative_MK.max(axis=0)  # else an operation and a call are 10⁹ apart
    found_K, _ = nnls(relative_MK / scale_K, np.ones(len(seconds_M)))
    constants: list[float] = (found_K / scale_K).tolist()
    return constants


def predicted(constants: dict[str, float], measurement: Measurement) -> float:
    numbers = zip(CONSTANTS, measurement.numbers, strict=True)
    return sum(constants[name] * number for name, number in numbers)
