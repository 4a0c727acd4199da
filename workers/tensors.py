"""Tensors and JSON in one safetensors blob: the form in which stages pass arrays on. No pickle."""

import json
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from workers.artifacts import canonical_json


def pack(tensors: dict[str, Tensor], meta: Any) -> bytes:
    """One blob of named tensors and a JSON value."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data: bytes = save(contiguous, metadata={"meta": canonical_json(meta).decode()})
    return data


def unpack(data: bytes) -> tuple[dict[str, Tensor], Any]:
    """The tensors and the JSON value that `pack` put together."""
    header_bytes = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_bytes])
    return load(data), json.loads(header["__metadata__"]["meta"])
