"""Common random numbers: uniforms that depend on what they are for, never on batches or workers."""

import hashlib

import torch
from torch import Tensor


def derived_seed(*labels: object) -> int:
    """A 63-bit seed from labels such as (announced seed, "pool", prompt index)."""
    text = "/".join(map(str, labels)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1


def uniforms(shape: tuple[int, ...], *labels: object) -> Tensor:
    """Uniform numbers in [0, 1), float64, the same for the same labels and shape."""
    generator = torch.Generator().manual_seed(derived_seed(*labels))
    return torch.rand(shape, generator=generator, dtype=torch.float64)
