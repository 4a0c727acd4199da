"""The weights of an adapter, read as a stream: NaN or an infinity in one ruins every score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from api_schemas.errors import InvalidInput

_CHUNK_BYTES = 1 << 20
_EXPONENTS: Mapping[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
"""The unsigned integer that holds a number's bits, and the bits of its exponent (IEEE 754)."""


@dataclass(frozen=True)
class Tensor:
    """A tensor's place: bytes `start` to `end` behind the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def refuse_non_finite(file: BinaryIO, tensors: Sequence[Tensor]) -> None:
    """Raises InvalidInput (`file`) naming the first weight that is NaN or infinite.

    `file` stands at the first byte of the first tensor, and tensors follow one another.
    """
    for tensor in tensors:
        size = tensor.end - tensor.start
        for read in range(0, size, _CHUNK_BYTES):
            _check(file.read(min(_CHUNK_BYTES, size - read)), read, tensor)


def _check(chunk: bytes, read: int, tensor: Tensor) -> None:
    """A number whose exponent has all bits set is infinite if its fraction is 0, else NaN."""
    bits_type, exponent = _EXPONENTS[tensor.dtype]
    bits = np.frombuffer(chunk, bits_type)
    (broken,) = np.nonzero((bits & exponent) == exponent)
    if not broken.size:
        return
    first = int(broken[0])
    fraction = int(bits[first]) & (exponent & -exponent) - 1
    index = np.unravel_index(read // bits.itemsize + first, tensor.shape)
    place = "".join(f"[{int(i)}]" for i in index)
    raise InvalidInput(
        f"tensor {tensor.name!r}{place} is {'NaN' if fraction else 'infinite'}: an adapter's "
        "weights must be finite",
        param="file",
    )
