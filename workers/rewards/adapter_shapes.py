"""What an uploaded LoRA adapter holds, read off the header of its safetensors file alone.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header, a
JSON object of every tensor's dtype, shape and place. Nothing of it is code, no weight is read here,
and no torch is needed: the API checks an upload with this before it keeps anything.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from api_schemas.errors import InvalidInput

MAX_HEADER_BYTES = 1 << 20
MAX_RANK = 1024
SCORE = "score"
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_BLOCKS = {
    "q_proj": "self_attn",
    "k_proj": "self_attn",
    "v_proj": "self_attn",
    "o_proj": "self_attn",
    "gate_proj": "mlp",
    "up_proj": "mlp",
    "down_proj": "mlp",
}
_LORA = re.compile(
    r"base_model\.model\.model\.(?P<module>layers\.(?P<layer>\d+)\.(?P<block>\w+)\.(?P<target>\w+))"
    r"\.lora_(?P<kind>[AB])(\.default)?\.weight"
)
_SCORE = re.compile(r"base_model\.model\.score(\.modules_to_save)?(\.default)?\.weight")


@dataclass(frozen=True)
class AdapterShapes:
    """Where each part of an adapter is in its file: names of tensors by module.

    A module is named as in the base, `layers.3.mlp.up_proj`; `ranks` has one for each.
    """

    a: dict[str, str]
    b: dict[str, str]
    ranks: dict[str, int]
    score: str | None


def read_header(file: BinaryIO, param: str = "file") -> dict[str, Any]:
    """The header of a safetensors file, checked against the file's size.

    Raises InvalidInput (`param`) for anything else, a pickle above all.
    """
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
        _refuse_unreadable(start, f"of {size} bytes names a header of {length}", param)
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        _refuse_unreadable(start, "has a header that isn't JSON", param)
    if not isinstance(header, dict):
        _refuse("has a header that isn't a JSON object", param)
    for name, entry in _tensors(header).items():
        _check_entry(name, entry, size - 8 - length, param)
    return header


def _refuse(reason: str, param: str) -> NoReturn:
    raise InvalidInput(
        f"the file {reason}; an adapter is a file adapter_model.safetensors, as PEFT saves it",
        param=param,
    )


def _refuse_unreadable(start: bytes, reason: str, param: str) -> NoReturn:
    """Of safetensors too the first bytes, a length, may be as a pickle's: those come second."""
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"):
        _refuse("is a pickle, which could run code when it is loaded", param)
    _refuse(reason, param)


def _check_entry(name: str, entry: Any, data_bytes: int, param: str) -> None:
    """Shape, dtype and place of a tensor must agree, and lie within the file."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(stop)]}:
            pass
        case _:
            _refuse(f"describes tensor {name!r} by {str(entry)[:200]}", param)
    if dtype not in _BYTES:
        _refuse(f"holds tensor {name!r} of dtype {dtype}; there are {', '.join(_BYTES)}", param)
    if not all(isinstance(n, int) and 0 < n < 2**31 for n in shape):
        _refuse(f"holds tensor {name!r} of shape {shape}", param)
    if not 0 <= start <= stop <= data_bytes or stop - start != _BYTES[dtype] * math.prod(shape):
        _refuse(
            f"puts tensor {name!r}, {dtype} of shape {shape}, at bytes {start} to {stop} of "
            f"{data_bytes}",
            param,
        )


def check_adapter_tensors(
    header: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    with_score: bool = True,
    max_rank: int = MAX_RANK,
    param: str = "reward_model.file_id",
) -> AdapterShapes:
    """Find the LoRA matrices and the score head of an adapter for the base of this `config.json`.

    A (r, inputs) and B (outputs, r) of one rank r a module; the head is (1, hidden). Without
    `with_score` it is a language model's adapter and may have none. Raises InvalidInput (`param`)
    naming the tensor and both shapes.
    """
    a: dict[str, str] = {}
    b: dict[str, str] = {}
    score = None
    for name, entry in sorted(_tensors(header).items()):
        lora = _LORA.fullmatch(name)
        place = {} if lora is None else a if lora["kind"] == "A" else b
        if lora and _BLOCKS.get(lora["target"]) == lora["block"] and lora["module"] not in place:
            place[lora["module"]] = name
            _check_layer(name, int(lora["layer"]), config, param)
        elif _SCORE.fullmatch(name) and with_score and score is None:
            score = name
            _check_shape(name, entry["shape"], [1, int(config["hidden_size"])], param)
        else:
            _refuse_tensor(name, entry, with_score, param)
    if with_score and score is None:
        raise InvalidInput(
            "the adapter has no head base_model.model.score.weight: train it with task_type "
            "SEQ_CLS and one label",
            param=param,
        )
    ranks = {module: _rank(module, a, b, header, config, param) for module in sorted({*a, *b})}
    if not ranks:
        raise InvalidInput("the adapter holds no LoRA matrices", param=param)
    for module, rank in ranks.items():
        if rank > max_rank:
            raise InvalidInput(f"{a[module]!r} has rank {rank}, at most {max_rank}", param=param)
    return AdapterShapes(a, b, ranks, score)


def _tensors(header: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def _refuse_tensor(name: str, entry: Any, with_score: bool, param: str) -> NoReturn:
    allowed = "and one score.weight" if with_score else "of a language model, without a score head"
    raise InvalidInput(
        f"the adapter holds tensor {name!r} of shape {entry['shape']}; only lora_A.weight and "
        f"lora_B.weight of {', '.join(_BLOCKS)} can be read, {allowed}",
        param=param,
    )


def _check_layer(name: str, layer: int, config: Mapping[str, Any], param: str) -> None:
    layers = int(config["num_hidden_layers"])
    if layer >= layers:
        raise InvalidInput(
            f"tensor {name!r} is of layer {layer}, the base has {layers}; is the adapter for "
            "another base?",
            param=param,
        )


def _check_shape(name: str, found: list[int], expected: list[int], param: str) -> None:
    if found != expected:
        raise InvalidInput(
            f"tensor {name!r} has shape {found}, the base needs {expected}; is the adapter for "
            "another base?",
            param=param,
        )


def _rank(
    module: str,
    a: Mapping[str, str],
    b: Mapping[str, str],
    header: Mapping[str, Any],
    config: Mapping[str, Any],
    param: str,
) -> int:
    """The rank of a module's two matrices, whose shapes are checked."""
    if not (module in a and module in b):
        found, missing = ("A", "B") if module in a else ("B", "A")
        raise InvalidInput(f"{module} has lora_{found} but no lora_{missing}", param=param)
    outputs, inputs = _linear_shape(module.rsplit(".", 1)[1], config)
    rank = int(next(iter(header[a[module]]["shape"]), 1))
    _check_shape(a[module], header[a[module]]["shape"], [rank, inputs], param)
    _check_shape(b[module], header[b[module]]["shape"], [outputs, rank], param)
    return rank


def _linear_shape(target: str, config: Mapping[str, Any]) -> tuple[int, int]:
    """Outputs and inputs of a linear layer of a Llama-layout model."""
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    size = int(config.get("head_dim") or hidden // heads)
    keys = int(config.get("num_key_value_heads") or heads) * size
    between = int(config["intermediate_size"])
    return {
        "q_proj": (heads * size, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, heads * size),
        "gate_proj": (between, hidden),
        "up_proj": (between, hidden),
        "down_proj": (hidden, between),
    }[target]
