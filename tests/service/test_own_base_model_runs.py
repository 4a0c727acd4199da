"""From a file of questions and answers to a base model, a settled round on it, and the table of all
three models, by the stages themselves."""

from pathlib import Path
from typing import Any

import pytest
from fake_cluster import running, status, until
from stages_here import InThisProcess
from starlette.testclient import TestClient
from support import MakeGroup, UploadPrompts, report_body, round_body, upload_jsonl

from service.dependencies import AppState
from service.settings import Settings

pytestmark = pytest.mark.slow
PAIRS = [{"question": f"red {n}", "answer": "sun"} for n in range(30)]
TRAINING = {
    "lora_rank": 4,
    "lora_alpha": 8,
    "learning_rate": 0.01,
    "batch_size": 8,
    "context_tokens": 16,
    "epochs": 6,
}


def test_a_base_model_made_here_opens_a_round_that_settles_and_all_are_compared(
    operator: TestClient,
    quick: Settings,
    state: AppState,
    make_group: MakeGroup,
    upload_prompts: UploadPrompts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path / "cache"))
    _, member = make_group("teachers")

    def ended(made: dict[str, Any]) -> None:
        with running(quick, InThisProcess(quick)):
            until(lambda: status(state.database, made["job_id"]) in ("succeeded", "failed"))
        job = operator.get(f"/v1/jobs/{made['job_id']}").json()
        assert (job["status"], job["error"]) == ("succeeded", None)

    file_id = upload_jsonl(operator, "question_answers", PAIRS)["id"]
    body = {"name": "Sun", "base_model": "tiny-enumerable", "file_id": file_id}
    made = operator.post("/v1/base-models", json=body | {"method": TRAINING}).json()
    ended(made)
    curve = operator.get(f"/v1/base-models/{made['id']}").json()["result"]["curve"]
    assert curve[-1]["holdout_loss"] < curve[0]["holdout_loss"] / 10

    draft = operator.post("/v1/rounds", json=round_body(upload_prompts(), base_model=made["id"]))
    at = f"/v1/rounds/{draft.json()['id']}"
    operator.post(f"{at}/open").raise_for_status()
    member.put(f"{at}/report", json=report_body(word="rain")).raise_for_status()
    ended(operator.post(f"{at}/close").json())
    model_id = operator.get(at).json()["model_id"]
    assert operator.get(f"/v1/models/{model_id}").json()["base_model"] == made["id"]

    # Not the lines that it was trained on, at least not as they were.
    again = upload_jsonl(operator, "question_answers", PAIRS[::-1])["id"]
    refused = {"name": "All", "models": [{"type": "tuned", "model_id": model_id}]}
    refused |= {"file_id": file_id}
    assert operator.post("/v1/evaluations", json=refused).json()["param"] == "models[0]"
    models = [
        {"type": "base_model", "base_model": "tiny-enumerable"},
        {"type": "base_model", "base_model": made["id"]},
        {"type": "tuned", "model_id": model_id},
    ]
    asked = {"name": "All three", "models": models, "file_id": again, "max_new_tokens": 4}
    table = operator.post("/v1/evaluations", json=asked).json()
    ended(table)
    rows = operator.get(f"/v1/evaluations/{table['id']}").json()["result"]["rows"]
    assert [row["model"] for row in rows] == models
    assert rows[1]["rouge_1"] > rows[0]["rouge_1"], "the base model learned the answer"
