"""The header of a safetensors file, checked without loading a tensor.

Format: 8 bytes N (little endian), N bytes of JSON `{name: {dtype, shape, data_offsets}}`, then the
tensors' bytes, which the offsets cover without a hole.
"""

import json
import math
from typing import Any, BinaryIO, NoReturn

from api_schemas.errors import InvalidInput

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 16 * 2**20
_DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def check_adapter(file: BinaryIO, size: int) -> None:
    """Raises InvalidInput (`file`) unless `file` of `size` bytes is safetensors of floats."""
    header = _read_header(file, size)
    spans = sorted(_span(name, entry) for name, entry in header.items() if name != "__metadata__")
    if not spans:
        _refuse("the safetensors header names no tensor")
    position = 0
    for start, end, name in spans:
        if start != position:
            _refuse(f"tensor {name!r} starts at byte {start}, expected {position}")
        position = end
    held = size - file.tell()
    if position != held:
        _refuse(f"the header describes {position} bytes of tensors, the file holds {held}")


def _read_header(file: BinaryIO, size: int) -> dict[str, Any]:
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if size < _LENGTH_BYTES or length > min(size - _LENGTH_BYTES, _MAX_HEADER_BYTES):
        _refuse("not a safetensors file: its header would be longer than it may be")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        _refuse("not a safetensors file: its header is not JSON")
    if not isinstance(header, dict):
        _refuse("not a safetensors file: its header is not a JSON object")
    return header


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """First byte of a tensor, the byte behind its last, its name."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)]}:
            pass
        case _:
            _refuse(f"tensor {name!r} lacks a dtype, a shape or two data_offsets")
    if dtype not in _DTYPE_BYTES:
        _refuse(f"tensor {name!r} has dtype {dtype!r}; an adapter has {', '.join(_DTYPE_BYTES)}")
    if not all(type(length) is int and length >= 0 for length in shape):
        _refuse(f"tensor {name!r} has the shape {shape}")
    if end - start != math.prod(shape) * _DTYPE_BYTES[dtype]:
        _refuse(f"tensor {name!r}: {end - start} bytes do not fit {dtype} of shape {shape}")
    return start, end, name


def _refuse(reason: str) -> NoReturn:
    raise InvalidInput(reason, param="file")
