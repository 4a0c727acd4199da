"""Adapters: formats that can run code are refused by name, and so is a weight that is no number."""

import io
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from api_schemas.errors import InvalidInput
from service.files.adapter_header import check_adapter


def check(data: bytes) -> None:
    check_adapter(io.BytesIO(data), len(data))


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidInput) as raised:
        check(data)
    assert raised.value.param == "file"
    return raised.value.message


def safetensors(header: Mapping[str, object], weights: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + weights


def zipped(name: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(name, b"content")
    return data.getvalue()


def saved_by_numpy() -> bytes:
    data = io.BytesIO()
    np.save(data, np.zeros(3))
    return data.getvalue()


def saved_by_torch(zip_archive: bool) -> bytes:
    data = io.BytesIO()
    weights = {"lora_A": torch.ones(2)}
    torch.save(weights, data, _use_new_zipfile_serialization=zip_archive)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        *((pickle.dumps({"lora_A": [1.0]}, protocol), "a Python pickle") for protocol in (2, 4, 5)),
        (saved_by_torch(zip_archive=False), "a Python pickle"),
        (saved_by_torch(zip_archive=True), "a PyTorch pickle (a zip archive of torch.save)"),
        (zipped("adapter/.format_version"), "a PyTorch pickle"),
        (zipped("lora_A.npy"), "a numpy .npz archive"),
        (zipped("adapter_model.safetensors"), "a zip archive"),
        (saved_by_numpy(), "a numpy .npy file"),
    ],
)
def test_what_can_hold_a_pickle_is_refused_by_name(data: bytes, named: str) -> None:
    message = refusal(data)
    assert message.startswith(named)
    assert "adapters are safetensors, because loading a pickle runs code" in message


def bits(dtype: str, value: float) -> bytes:
    if dtype == "BF16":  # the upper half of a float32
        return struct.pack("<f", value)[2:]
    return np.array([value], {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize(
    ("value", "named"), [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")]
)
def test_a_weight_that_is_not_finite_is_named_with_its_place(
    dtype: str, value: float, named: str
) -> None:
    # 1.2 million weights, so that the broken one lies behind the first chunks that are read.
    shape, broken = [3, 400_000], (2, 99_999)
    size = len(bits(dtype, 1.0))
    weights = bytearray(bits(dtype, -65504.0) * math.prod(shape))
    place = np.ravel_multi_index(broken, shape) * size
    weights[place : place + size] = bits(dtype, value)
    header = {
        "first": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "lora_A": {"dtype": dtype, "shape": shape, "data_offsets": [8, 8 + len(weights)]},
    }
    message = refusal(safetensors(header, bytes(8) + weights))
    assert message.startswith(f"tensor 'lora_A'[2][99999] is {named}: an adapter")


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_the_largest_and_the_smallest_numbers_are_finite(dtype: str) -> None:
    largest = {"F64": 1.7976931348623157e308, "F16": 65504.0}.get(dtype, 3.38e38)
    weights = b"".join(bits(dtype, value) for value in (largest, -largest, 0.0, -0.0, 6e-8))
    entry = {"dtype": dtype, "shape": [5], "data_offsets": [0, len(weights)]}
    check(safetensors({"lora_A": entry}, weights))


def test_a_header_as_long_as_a_pickle_begins_is_still_a_header() -> None:
    # 0x480 = 1152 bytes of header: the file begins with the two bytes of a pickle.
    entry = {"lora_A": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    text = json.dumps(entry).encode().ljust(0x480)
    data = struct.pack("<Q", len(text)) + text + bytes(8)
    assert data.startswith(b"\x80\x04")
    check(data)


def test_a_header_may_have_a_mebibyte_and_not_a_byte_more() -> None:
    entry = {"lora_A": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    for length in (2**20, 2**20 + 1):
        text = json.dumps(entry).encode().ljust(length)
        data = struct.pack("<Q", len(text)) + text + bytes(8)
        if length == 2**20:
            check(data)
        else:
            assert "its header would be longer than it may be" in refusal(data)
