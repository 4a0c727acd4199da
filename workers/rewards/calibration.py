"""Calibration of a reward model: does σ of the difference of scores tell the share of votes?

A pair is looked at from the response that the model prefers. With d the difference of its scores,
q = σ(|d|) ≥ ½ is the predicted share of votes for that response, and o the observed one; where the
model is indifferent both are ½. From the other side the pair is (1 − q, 1 − o): the curve is
symmetric about (½, ½) and one half of it says all. With the pairs in bins b of about equal count,

    ECE = Σ_b n_b/n · |o_b − q_b|                            (Naeini, Cooper & Hauskrecht 2015)

A perfectly calibrated model's isn't 0: votes are drawn. With v votes on a pair and pairs that don't
depend on each other, o_b − q_b is about normal, and its expected size sums to

    chance = Σ_b n_b/n · √(2/π · Σ_{k∈b} q_k(1 − q_k)/v_k / n_b²)

    log loss = −mean_k [s_k log σ(d_k) + (1 − s_k) log σ(−d_k)],   s the share that prefers `chosen`
"""

import numpy as np

from api_schemas.report_cards import Calibration, CalibrationBin
from workers.mechanism.arrays import Floats

BINS = 10
MIN_PAIRS_A_BIN = 10


def calibration(differences: Floats, shares: Floats, votes: Floats) -> Calibration | None:
    """Of pairs with r(chosen) − r(rejected), shares for chosen and numbers of votes; None for none.

    The differences must be finite; nothing overflows, however large they are.
    """
    if not len(differences):
        return None
    predicted = _sigmoid(np.abs(differences))
    sided = np.where(differences > 0, shares, 1 - shares)
    observed = np.where(differences == 0, 0.5, sided)
    # Indifference is no prediction that votes could contradict by chance.
    variance = np.where(differences == 0, 0.0, predicted * (1 - predicted) / votes)
    bins, error, chance = [], 0.0, 0.0
    for members in _bins(predicted):
        count = int(members.sum())
        q, o = float(predicted[members].mean()), float(observed[members].mean())
        bins.append(CalibrationBin(predicted=q, observed=o, pairs=count))
        error += count / len(predicted) * abs(o - q)
        chance += np.sqrt(2 / np.pi * float(variance[members].sum())) / len(predicted)
    return Calibration(
        error=error, chance=float(chance), log_loss=_log_loss(differences, shares), bins=bins
    )


def _bins(predicted: Floats) -> list[Floats]:
    """Masks of bins of about equal count, from the smallest; equal predictions stay together."""
    wanted = max(1, min(BINS, len(predicted) // MIN_PAIRS_A_BIN))
    inner = np.quantile(predicted, np.arange(1, wanted) / wanted, method="inverted_cdf")
    place = np.searchsorted(np.unique(inner), predicted, side="left")
    return [place == b for b in np.unique(place)]


def _sigmoid(values: Floats) -> Floats:
    """1/(1 + e⁻ᵈ) for d ≥ 0."""
    return 1 / (1 + np.exp(-values))


def _log_loss(differences: Floats, shares: Floats) -> float:
    """Divided before they are summed: the mean of the largest floats must not overflow."""
    losses = shares * np.logaddexp(0, -differences) + (1 - shares) * np.logaddexp(0, differences)
    return float((losses / len(losses)).sum())
