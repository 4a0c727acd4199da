"""An adapter that doesn't fit its base is refused when it is named, by its tensors' shapes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cluster import job_row
from reward_model_scenes import body, create, preferences
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, count_rows

from api_schemas.jobs import RewardModelJobInput
from service.dependencies import AppState
from service.reward_models import adapters
from service.tables import JobRow
from workers import base_models

HIDDEN = 48  # of tiny-enumerable, which has two layers
QUERY = "base_model.model.model.layers.1.self_attn.q_proj"
SCORE = "base_model.model.score.weight"
SHAPES = {
    f"{QUERY}.lora_A.weight": (4, HIDDEN),
    f"{QUERY}.lora_B.weight": (HIDDEN, 4),
    SCORE: (1, HIDDEN),
}


@pytest.fixture
def group(make_group: MakeGroup) -> TestClient:
    return make_group("teachers")[1]


def upload(client: TestClient, shapes: dict[str, tuple[int, ...]]) -> str:
    """A safetensors file of zeros in these shapes; the id of the upload."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + bytes(end)
    files = {"file": ("adapter_model.safetensors", data)}
    uploaded = client.post("/v1/files", data={"purpose": "adapter"}, files=files)
    assert uploaded.status_code == 201, uploaded.text
    return str(uploaded.json()["id"])


def spec_of(client: TestClient, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    named = {"type": "adapter", "base_model": "tiny-enumerable", "lora_alpha": 8.0}
    return named | {"file_id": upload(client, shapes)}


def test_an_adapter_of_its_base_is_taken_and_both_are_pinned(
    group: TestClient, state: AppState
) -> None:
    spec = spec_of(group, SHAPES)
    made = create(group, spec)
    job = RewardModelJobInput.model_validate(job_row(state.database, made["job_id"]).input)
    assert list(job.pinned.files) == [spec["file_id"]]
    revision = base_models.resolve("tiny-enumerable").revision
    assert job.pinned.base_models == {"tiny-enumerable": revision}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({SCORE: (1, 576)}, [SCORE, "[1, 576]", "[1, 48]", "another base"]),
        ({SCORE: (3, HIDDEN)}, [SCORE, "[3, 48]", "[1, 48]"]),
        ({f"{QUERY}.lora_A.weight": (4, 576)}, ["lora_A", "[4, 576]", "[4, 48]"]),
        (
            {"base_model.model.model.layers.29.mlp.up_proj.lora_A.weight": (4, HIDDEN)},
            ["layer 29", "the base has 2"],
        ),
        ({"base_model.model.lm_head.weight": (6, HIDDEN)}, ["lm_head.weight", "[6, 48]"]),
    ],
)
def test_an_adapter_of_another_base_is_refused_with_its_tensor_and_both_shapes(
    group: TestClient,
    open_round: OpenRound,
    state: AppState,
    changes: dict[str, tuple[int, ...]],
    words: list[str],
) -> None:
    spec = spec_of(group, SHAPES | changes)
    ahead = group.post("/v1/reward-models", json=body(spec))
    url = f"/v1/rounds/{open_round()['id']}/report"
    reported = group.put(url, json={"size": 1, "reward_model": spec})
    for refused in (ahead, reported):
        assert (refused.status_code, refused.json()["param"]) == (422, "reward_model.file_id")
        assert all(word in refused.json()["detail"] for word in words), refused.text
    assert count_rows(state, JobRow) == 0


def test_a_checkpoint_is_a_language_models_adapter_without_a_head(group: TestClient) -> None:
    language = {name: shape for name, shape in SHAPES.items() if name != SCORE}
    spec = preferences(group, "weight_averaged", base_model="tiny-enumerable")
    spec["method"]["checkpoints"] = [upload(group, language)]
    create(group, spec)
    spec["method"]["checkpoints"].append(upload(group, SHAPES))
    refused = group.post("/v1/reward-models", json=body(spec)).json()
    assert refused["param"] == "reward_model.method.checkpoints[1]"
    assert SCORE in refused["detail"]


@pytest.mark.parametrize(
    ("method", "param"),
    [
        ({"name": "bradley_terry", "base_model": "all-minilm-l6-v2"}, "base_model"),
        (
            {
                "name": "ensemble",
                "member": {"name": "bradley_terry"},
                "base_models": ["tiny-enumerable", "all-minilm-l6-v2"],
            },
            "base_models[1]",
        ),
    ],
)
def test_a_sentence_encoder_cannot_be_fine_tuned(
    group: TestClient, method: dict[str, Any], param: str
) -> None:
    refused = group.post("/v1/reward-models", json=body(preferences(group) | {"method": method}))
    assert (refused.status_code, refused.json()["param"]) == (422, f"reward_model.method.{param}")
    assert "is a sentence encoder" in refused.json()["detail"].replace("it is", "is")


def test_members_on_embeddings_may_differ_by_encoder(group: TestClient) -> None:
    names = ["tiny-enumerable", "all-minilm-l6-v2"]
    made = create(group, preferences(group, "ensemble", base_models=names))
    assert made["reward_model"]["method"]["base_models"] == names


def test_the_sizes_of_a_gguf_file_are_those_of_its_conversion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the API reads before any worker has converted the file, and after."""
    resolved = base_models.resolve("smollm2-135m-instruct")
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path))
    assert not resolved.folder.exists()
    assert adapters.base_config(resolved) == {
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    }
