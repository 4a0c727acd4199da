"""An uploaded reward model: PEFT's own files score as in PEFT, and whatever else is refused."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fine_tuned_support as support
import numpy as np
import pytest
import torch
from fine_tuned_support import tiny_base
from safetensors.torch import load, save

from api_schemas.errors import InvalidInput
from api_schemas.reward_models import AdapterSpec
from workers import tiny_model
from workers.reward_training.rows import tokenized
from workers.rewards.adapter_shapes import MAX_HEADER_BYTES, check_adapter_tensors, read_header
from workers.rewards.registry import FittedRewardModel, fit

FILE_ID = "file_" + "a" * 26
UP = "base_model.model.model.layers.1.mlp.up_proj"
SCORE = "base_model.model.score.weight"
PROMPTS = ["red sun", "rain", "green green blue"]
RESPONSES = ["blue", "sun rain red", ""]


def spec(**changes: Any) -> AdapterSpec:
    told = {"type": "adapter", "file_id": FILE_ID, "base_model": tiny_model.NAME}
    return AdapterSpec.model_validate({**told, "lora_alpha": 8.0, **changes})


def built(data: bytes, **changes: Any) -> FittedRewardModel:
    return fit(spec(**changes), support.context(**{FILE_ID: data}))


def peft_model(**settings: Any) -> Any:
    """A random adapter on the tiny model, made by PEFT."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(3)
    base = AutoModelForSequenceClassification.from_pretrained(tiny_base().folder, num_labels=1)
    base.config.pad_token_id = None
    told = {"r": 4, "target_modules": ["q_proj", "k_proj", "o_proj", "up_proj", "down_proj"]}
    config = LoraConfig(
        task_type="SEQ_CLS", lora_alpha=8, init_lora_weights=False, **{**told, **settings}
    )
    return get_peft_model(base, config).eval()


def scores_of(model: Any) -> list[float]:
    found = []
    for each in tokenized(tiny_base(), PROMPTS, RESPONSES, 64):
        with torch.no_grad():
            found.append(float(model(torch.tensor([[*each.prompt, *each.response]])).logits))
    return found


def file_of(model: Any, folder: Path) -> bytes:
    model.save_pretrained(folder)
    return (folder / "adapter_model.safetensors").read_bytes()


def changed(**tensors: torch.Tensor | None) -> bytes:
    """A good adapter's file with tensors replaced, added, or left out."""
    good = {
        f"{UP}.lora_A.weight": torch.randn(4, 48),
        f"{UP}.lora_B.weight": torch.randn(96, 4),
        SCORE: torch.randn(1, 48),
    }
    return save({name: t for name, t in {**good, **tensors}.items() if t is not None})


@pytest.mark.parametrize(
    ("saved", "named"),
    [
        ({}, {}),
        ({"use_rslora": True}, {"use_rslora": True}),
        ({"rank_pattern": {"up_proj": 2}, "use_rslora": True}, {"use_rslora": True}),
        ({"rank_pattern": {"layers.0.self_attn.q_proj": 7}}, {}),
        ({"layers_to_transform": [1], "layers_pattern": "layers"}, {}),
    ],
)
def test_an_adapter_that_peft_saved_scores_as_in_peft(
    saved: dict[str, Any], named: dict[str, Any], tmp_path: Path
) -> None:
    model = peft_model(**saved)
    ours = built(file_of(model, tmp_path), **named)
    expected = scores_of(model)
    np.testing.assert_allclose(ours.score(PROMPTS, RESPONSES), expected, atol=1e-4)
    assert np.ptp(expected) > 0.01
    read_back = FittedRewardModel.from_bytes(ours.to_bytes())
    np.testing.assert_array_equal(
        read_back.score(PROMPTS, RESPONSES), ours.score(PROMPTS, RESPONSES)
    )


@pytest.mark.parametrize(
    "score", ["score.modules_to_save.weight", "score.modules_to_save.default.weight"]
)
def test_other_names_that_a_saved_head_may_have_are_read_too(score: str, tmp_path: Path) -> None:
    model = peft_model()
    tensors = load(file_of(model, tmp_path))
    tensors[f"base_model.model.{score}"] = tensors.pop(SCORE)
    named = {name.replace("lora_A.", "lora_A.default."): t for name, t in tensors.items()}
    found = built(save(named)).score(PROMPTS, RESPONSES)
    np.testing.assert_allclose(found, scores_of(model), atol=1e-4)


def test_half_precision_files_are_read() -> None:
    data = save({name: tensor.bfloat16() for name, tensor in load(changed()).items()})
    assert np.isfinite(built(data).score(PROMPTS, RESPONSES)).all()


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (
            {f"{UP}.lora_A.weight": torch.randn(4, 576)},
            rf"'{UP}.lora_A.weight' has shape \[4, 576\], the base needs \[4, 48\]; .*another base",
        ),
        (
            {f"{UP}.lora_B.weight": torch.randn(96, 3)},
            r"lora_B.weight' has shape \[96, 3\], the base needs \[96, 4\]",
        ),
        (
            {f"{UP}.lora_A.weight": torch.randn(48)},
            r"lora_A.weight' has shape \[48\], the base needs \[48, 48\]",
        ),
        (
            {SCORE: torch.randn(2, 48)},
            r"score.weight' has shape \[2, 48\], the base needs \[1, 48\]",
        ),
        ({SCORE: None}, "has no head base_model.model.score.weight"),
        ({f"{UP}.lora_B.weight": None}, "layers.1.mlp.up_proj has lora_A but no lora_B"),
        (
            {f"{UP}.lora_A.weight": None, f"{UP}.lora_B.weight": None},
            "holds no LoRA matrices",
        ),
        (
            {UP.replace("1", "7") + ".lora_A.weight": torch.randn(4, 48)},
            "is of layer 7, the base has 2; is the adapter for another base",
        ),
        (
            {f"{UP}.lora_A.weight": torch.full((4, 48), float("nan"))},
            f"'{UP}.lora_A.weight' holds NaN or infinite weights",
        ),
        (
            {SCORE: torch.full((1, 48), float("inf"))},
            f"'{SCORE}' holds NaN or infinite weights",
        ),
        (
            {f"{UP}.lora_magnitude_vector": torch.randn(96)},
            r"holds tensor '.*lora_magnitude_vector' of shape \[96\]",
        ),
        (
            {"base_model.model.model.embed_tokens.weight": torch.randn(6, 48)},
            "holds tensor 'base_model.model.model.embed_tokens.weight'",
        ),
        (
            {UP.replace("mlp", "self_attn") + ".lora_A.weight": torch.randn(4, 48)},
            "holds tensor '.*self_attn.up_proj.lora_A.weight'",
        ),
        (
            {f"{UP}.lora_A.default.weight": torch.randn(4, 48)},  # a second one of the same place
            "holds tensor '.*lora_A.weight'",
        ),
        (
            {
                f"{UP}.lora_A.weight": torch.randn(1025, 48),
                f"{UP}.lora_B.weight": torch.randn(96, 1025),
            },
            "has rank 1025, at most 1024",
        ),
        (
            {f"{UP}.lora_A.weight": torch.zeros((4, 48), dtype=torch.int64)},
            "of dtype I64",
        ),
    ],
)
def test_what_is_no_adapter_of_this_base_is_refused_with_the_tensors_name(
    tensors: dict[str, torch.Tensor | None], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason) as error:
        built(changed(**tensors))
    assert error.value.param == "reward_model.file_id"


def _header(entry: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps({SCORE: entry}).encode()
    return len(text).to_bytes(8, "little") + text + data


def _torch_file() -> bytes:
    stream = io.BytesIO()
    torch.save({SCORE: torch.ones(1, 48)}, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: pickle.dumps({SCORE: 1}), "is a pickle"),
        (_torch_file, "is a pickle"),
        (lambda: b"", "of 0 bytes"),
        (lambda: b"\x00" * 4, "of 4 bytes"),
        (lambda: (2**40).to_bytes(8, "little") + b"{}", f"names a header of {2**40}"),
        (lambda: (3).to_bytes(8, "little") + b"{x}", "isn't JSON"),
        (lambda: (2).to_bytes(8, "little") + b"[]", "isn't a JSON object"),
        (lambda: _header({"dtype": "F32"}), "describes tensor"),
        (
            lambda: _header({"dtype": "F32", "shape": [1, 48], "data_offsets": [0, 192]}),
            "bytes 0 to 192 of 0",
        ),
        (
            lambda: _header({"dtype": "F32", "shape": [1, 48], "data_offsets": [0, 8]}, b"0" * 8),
            "bytes 0 to 8 of 8",
        ),
        (
            lambda: _header({"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}, b"0" * 4),
            r"shape \[-1\]",
        ),
        (lambda: changed()[:-10], "bytes"),
        (lambda: changed() + b"more", "can't be read"),
    ],
)
def test_a_file_that_is_no_safetensors_is_refused_and_never_run(
    make: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason) as error:
        built(make())
    assert error.value.param == "reward_model.file_id"


def test_a_header_as_long_as_a_pickle_begins_is_still_a_header() -> None:
    """0x0480 = 1152 bytes, little-endian: the file begins with the two bytes of a pickle."""
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    text = json.dumps({SCORE: entry}).encode().ljust(1152)
    data = len(text).to_bytes(8, "little") + text + b"\0" * 4
    assert data[:2] == b"\x80\x04"
    assert read_header(io.BytesIO(data)) == {SCORE: entry}


def test_a_header_is_never_read_beyond_its_bound() -> None:
    class Endless(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            return 2**40 if whence == 2 else super().seek(offset, whence)

    with pytest.raises(InvalidInput, match="names a header"):
        read_header(Endless((MAX_HEADER_BYTES + 1).to_bytes(8, "little")))


def test_an_adapter_is_checked_without_loading_a_weight_or_torch() -> None:
    config = json.loads((tiny_base().folder / "config.json").read_text())
    shapes = check_adapter_tensors(read_header(io.BytesIO(changed())), config)
    assert shapes.ranks == {"layers.1.mlp.up_proj": 4}
    assert shapes.score == SCORE
    with pytest.raises(InvalidInput, match="without a score head"):
        check_adapter_tensors(read_header(io.BytesIO(changed())), config, with_score=False)


def test_another_revision_of_the_base_than_was_pinned_is_refused() -> None:
    context = support.context(**{FILE_ID: changed()})
    context.pinned.base_models[tiny_model.NAME] = "sha256:" + "0" * 64
    try:
        with pytest.raises(InvalidInput, match="announced was sha256:0000"):
            fit(spec(), context)
    finally:
        context.pinned.base_models[tiny_model.NAME] = support.REVISION
