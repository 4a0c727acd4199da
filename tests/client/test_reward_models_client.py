"""Reward models in the Python client: made, waited for, downloaded, reranked with."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from client_support import Answer, Script

from api_schemas import examples
from api_schemas.errors import Conflict, InvalidInput, NotFound
from api_schemas.lexical import LexicalSpec
from api_schemas.reward_models import AdapterSpec, Candidates
from client import Truthtune
from client.downloads import DamagedDownload
from client.problems import JobFailed

LEXICAL = LexicalSpec.model_validate(
    {"type": "lexical", "features": [{"type": "keywords", "words": ["please"]}]}
)
CONFIG = {
    "peft_type": "LORA",
    "task_type": "SEQ_CLS",
    "base_model_name_or_path": "tiny-enumerable",
    "bias": "none",
    "lora_alpha": 16,
    "use_rslora": True,
    "modules_to_save": ["classifier", "score"],
    "init_lora_weights": True,
}
SCORE = "base_model.model.score.weight"
RERANKING = examples.RERANKING


def answer(body: Any) -> Answer:
    return Answer(200, json.dumps(body).encode())


def ended(status: str, job: dict[str, Any]) -> list[Answer]:
    """What a client asks that waits for a job: its stream, then the job."""
    event = examples.JOB_EVENT | {"sequence": 1, "type": f"job_{status}", "message": status}
    error = {"code": "invalid_input", "message": "one prompt: no split is possible"}
    finished = {"status": status, "error": error if status == "failed" else None}
    stream = Answer(200, f"data: {json.dumps(event)}\n\n".encode())
    return [stream, answer(examples.JOB | finished | job)]


def peft_folder(folder: Path, rows: int = 1, score: str = SCORE, **changes: Any) -> Path:
    """A folder as PEFT saves it, with a head of `rows` labels alone."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    entry = {"dtype": "F32", "shape": [rows, 2], "data_offsets": [0, 8 * rows]}
    header = json.dumps({score: entry}).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(8 * rows)
    (folder / "adapter_model.safetensors").write_bytes(data)
    return folder


def test_a_reward_model_is_made_shown_and_listed_to_its_owner_alone(
    group: Truthtune, operator: Truthtune
) -> None:
    made = group.reward_models.create("Spring", LEXICAL)
    assert (made.status, made.reward_model) == ("queued", LEXICAL)
    assert group.reward_models.get(made.id) == made
    assert [each.id for each in group.reward_models.list()] == [made.id]
    assert group.jobs.get(made.job_id).reward_model_id == made.id
    with pytest.raises(NotFound):
        operator.reward_models.get(made.id)
    assert made.id not in [each.id for each in operator.reward_models.list()]
    for ask in (group.reward_models.report_card, group.reward_models.content):
        with pytest.raises(Conflict, match="is queued"):
            ask(made.id)
    with pytest.raises(Conflict, match="is queued"):
        group.reward_models.rerank(made.id, [Candidates(prompt="a", responses=["b"])])


def test_waiting_for_a_reward_model_that_was_cancelled_tells_so(group: Truthtune) -> None:
    made = group.reward_models.create("Spring", LEXICAL)
    group.jobs.cancel(made.job_id)
    told: list[str] = []
    with pytest.raises(JobFailed, match=f"job {made.job_id} cancelled"):
        group.reward_models.wait(made.id, lambda event: told.append(event.type))
    assert told == ["job_queued", "job_cancelled"]


def test_waiting_for_one_whose_fit_failed_raises_the_reason(
    script: Script, scripted: Truthtune
) -> None:
    script.answers = [answer(examples.REWARD_MODEL), *ended("failed", {})]
    with pytest.raises(JobFailed, match="one prompt: no split is possible") as failed:
        scripted.reward_models.wait(examples.REWARD_MODEL["id"])
    assert failed.value.code == "invalid_input"


def test_a_ready_reward_model_comes_with_its_card(script: Script, scripted: Truthtune) -> None:
    shown = answer(examples.REWARD_MODEL)
    script.answers = [shown, *ended("succeeded", {}), shown]
    found = scripted.reward_models.wait(examples.REWARD_MODEL["id"])
    assert found.report_card is not None
    assert found.report_card.accuracy is not None
    assert found.report_card.accuracy.value == 0.75


def test_a_download_must_be_what_the_record_names(script: Script, scripted: Truthtune) -> None:
    content = b'{"format": 2}\n...'
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    for named, damaged in ((digest, False), (examples.REWARD_MODEL["digest"], True)):
        script.answers = [Answer(200, content), answer(examples.REWARD_MODEL | {"digest": named})]
        if damaged:
            with pytest.raises(DamagedDownload, match=digest):
                scripted.reward_models.content(examples.REWARD_MODEL["id"])
        else:
            assert scripted.reward_models.content(examples.REWARD_MODEL["id"]) == content


def test_best_of_n_waits_and_gives_the_response_that_scores_highest(
    script: Script, scripted: Truthtune
) -> None:
    (ranked,) = RERANKING["result"]
    queued = RERANKING | {"status": "queued", "result": None}
    script.answers = [
        answer(queued),
        *ended("succeeded", {"kind": "reranking"}),
        answer(RERANKING),
    ]
    responses = ["No idea.", "Open Settings, please."]
    best = scripted.reward_models.best_of_n(RERANKING["reward_model_id"], "How?", responses)
    assert (best.response, best.score) == ("Open Settings, please.", ranked["scores"][1])
    assert best.kl_bound == ranked["kl_bound"]
    assert json.loads(script.asked[0].body) == {
        "items": [{"prompt": "How?", "responses": responses}]
    }
    assert script.asked[0].headers["idempotency-key"]


def test_a_peft_folder_is_uploaded_and_named(group: Truthtune, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "adapter")
    spec = group.reward_models.adapter_spec(folder)
    assert spec == AdapterSpec(
        type="adapter",
        file_id=spec.file_id,
        base_model="tiny-enumerable",
        lora_alpha=16.0,
        use_rslora=True,
    )
    file = group.files.get(spec.file_id)
    assert (file.purpose, file.filename) == ("adapter", "adapter_model.safetensors")
    other = group.reward_models.adapter_spec(folder, "smollm2-135m-instruct", max_tokens=64)
    assert (other.base_model, other.max_tokens) == ("smollm2-135m-instruct", 64)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; the service takes 'LORA'"),
        ({"task_type": "CAUSAL_LM"}, "task_type is 'CAUSAL_LM'"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"use_dora": True}, "use_dora is True"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern is {'q_proj': 2}"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"lora_alpha": None}, "lora_alpha is None, which is no number"),
        ({"rows": 3}, "has shape [3, 2]: train the adapter with one label"),
        ({"score": "base_model.model.lm_head.weight"}, f"has no tensor {SCORE}"),
    ],
)
def test_an_adapter_that_the_service_cannot_take_is_refused_before_it_is_sent(
    script: Script, scripted: Truthtune, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    folder = peft_folder(tmp_path / "adapter", **changes)
    with pytest.raises(InvalidInput) as refused:
        scripted.reward_models.adapter_spec(folder)
    assert words in refused.value.message
    assert str(folder) in refused.value.message
    assert script.asked == []


def test_a_folder_without_safetensors_is_refused_and_a_pickle_is_named(
    scripted: Truthtune, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "adapter")
    weights = folder / "adapter_model.safetensors"
    weights.rename(folder / "adapter_model.bin")
    with pytest.raises(InvalidInput, match="is a pickle, which is never loaded"):
        scripted.reward_models.adapter_spec(folder)
    for damaged in (b"\x80\x02pickled", b"", b"\xff" * 20):
        weights.write_bytes(damaged)
        with pytest.raises(InvalidInput, match="is not a safetensors file"):
            scripted.reward_models.adapter_spec(folder)
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(InvalidInput, match="is not a JSON object"):
        scripted.reward_models.adapter_spec(folder)
    with pytest.raises(InvalidInput, match=r"adapter_config.json: can't be read"):
        scripted.reward_models.adapter_spec(tmp_path)
