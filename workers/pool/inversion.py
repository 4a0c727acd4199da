"""Tokens from uniform numbers: what decides a response beside its prompt."""

import torch
from torch import Tensor

_BELOW_ONE = 1 - 2.0**-24


def as_thresholds(uniforms: Tensor, device: torch.device) -> Tensor:
    """Uniforms in [0, 1) in the precision in which they are compared, on the model's device.

    Rounding up to 1 would draw the vocabulary's last token, whatever its probability.
    """
    return uniforms.to(device, torch.float32).clamp(max=_BELOW_ONE)


def invert(logits_RV: Tensor, uniforms_RJ: Tensor) -> Tensor:
    """The tokens at which a row's cumulative distribution passes its uniforms; shape (R, J)."""
    # In place: fresh memory of a vocabulary's size takes longer than the sums.
    cumulative_RV = torch.softmax(logits_RV, -1, dtype=torch.float32).cumsum_(-1)
    thresholds_RJ = uniforms_RJ * cumulative_RV[:, -1:]  # rounding leaves the sum beside 1
    return torch.searchsorted(cumulative_RV, thresholds_RJ, right=True).clamp(
        max=logits_RV.shape[-1] - 1
    )
