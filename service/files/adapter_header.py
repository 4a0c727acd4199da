"""An adapter's file: safetensors whose header is right and whose weights are finite.

Format: 8 bytes N (little endian), N bytes of JSON `{name: {dtype, shape, data_offsets}}`, then the
tensors' bytes, which the offsets cover without a hole.
"""

import json
import math
from typing import Any, BinaryIO, NoReturn

from api_schemas.errors import InvalidInput
from service.files.adapter_weights import Tensor, refuse_non_finite

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 2**20
"""1 MiB: the header of an adapter with a thousand tensors takes a tenth of that."""
_DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_MAGIC_BYTES = 512
_MAX_DIMENSIONS = 8


def check_adapter(file: BinaryIO, size: int) -> None:
    """Raises InvalidInput (`file`) unless the `size` bytes are safetensors of finite floats."""
    header = _read_header(file, size)
    tensors = [_tensor(name, entry) for name, entry in header.items() if name != "__metadata__"]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    if not tensors:
        _refuse("the safetensors header names no tensor")
    position = 0
    for tensor in tensors:
        if tensor.start != position:
            _refuse(f"tensor {tensor.name!r} starts at byte {tensor.start}, expected {position}")
        position = tensor.end
    held = size - file.tell()
    if position != held:
        _refuse(f"the header describes {position} bytes of tensors, the file holds {held}")
    refuse_non_finite(file, tensors)


def _read_header(file: BinaryIO, size: int) -> dict[str, Any]:
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if size < _LENGTH_BYTES or length > min(size - _LENGTH_BYTES, _MAX_HEADER_BYTES):
        _refuse_other_format(file, "its header would be longer than it may be")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        _refuse_other_format(file, "its header is not JSON")
    if not isinstance(header, dict):
        _refuse("not a safetensors file: its header is not a JSON object")
    return header


def _refuse_other_format(file: BinaryIO, reason: str) -> NoReturn:
    """Of safetensors the first bytes are a length, so that they can look like any other format's:
    it is named only once the header can't be read."""
    file.seek(0)
    if found := _format_of(file.read(_MAGIC_BYTES)):
        _refuse(
            f"{found}: adapters are safetensors, because loading a pickle runs code; save with "
            "safe_serialization=True and upload adapter_model.safetensors"
        )
    _refuse(f"not a safetensors file: {reason}")


def _format_of(beginning: bytes) -> str | None:
    """A format that can hold a pickle, by its first bytes."""
    if beginning.startswith(b"PK\x03\x04"):
        first_name = beginning[30 : 30 + int.from_bytes(beginning[26:28], "little")]
        if first_name.endswith(b".npy"):
            return "a numpy .npz archive"
        # torch.save writes <name>/data.pkl first; since 2.6 .format_version may come before it.
        kept_by_torch = (b"/data.pkl", b"/.format_version", b"/byteorder", b"/version")
        if first_name.endswith(kept_by_torch):
            return "a PyTorch pickle (a zip archive of torch.save)"
        return "a zip archive"
    if beginning.startswith(b"\x93NUMPY"):
        return "a numpy .npy file"
    if len(beginning) > 1 and beginning[0] == 0x80 and 2 <= beginning[1] <= 5:
        return "a Python pickle, as PyTorch's .bin and .pt files were"
    return None


def _tensor(name: str, entry: Any) -> Tensor:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)]}:
            pass
        case _:
            _refuse(f"tensor {name!r} lacks a dtype, a shape or two data_offsets")
    if dtype not in _DTYPE_BYTES:
        _refuse(f"tensor {name!r} has dtype {dtype!r}; an adapter has {', '.join(_DTYPE_BYTES)}")
    if not all(type(length) is int and length >= 0 for length in shape):
        _refuse(f"tensor {name!r} has the shape {shape}")
    if len(shape) > _MAX_DIMENSIONS:
        _refuse(f"tensor {name!r} has {len(shape)} dimensions, at most {_MAX_DIMENSIONS} are read")
    if end - start != math.prod(shape) * _DTYPE_BYTES[dtype]:
        _refuse(f"tensor {name!r}: {end - start} bytes do not fit {dtype} of shape {shape}")
    return Tensor(name, dtype, tuple(shape), start, end)


def _refuse(reason: str) -> NoReturn:
    raise InvalidInput(reason, param="file")
