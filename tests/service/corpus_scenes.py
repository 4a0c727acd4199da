"""Corpora, base models and evaluations asked for over HTTP, and what their jobs' stages leave."""

from pathlib import Path
from typing import Any

from scenes import claim
from starlette.testclient import TestClient
from support import upload_jsonl

from api_schemas import corpus_examples
from api_schemas.corpora import CorpusResult
from api_schemas.evaluations import EvaluationResult
from api_schemas.fine_tuned_models import BaseModelResult
from api_schemas.jobs import (
    BaseModelJobInput,
    CorpusJobInput,
    EvaluationJobInput,
    ProgressEvent,
    stages_of,
)
from service.dependencies import AppState
from service.jobs import leases, publication
from workers import base_models, tiny_model
from workers.artifacts import ArtifactStore

TEXT = b"# Rain\n\nRain falls from clouds. Clouds are drops of water.\n"
PAIRS = [
    {"question": "Why does it rain?", "answer": "Drops grow until the air can't hold them."},
    {"question": "What is a cloud?", "answer": "Drops of water that are small enough to float."},
]
LOCAL = {"type": "local", "base_model": "tiny-enumerable"}
SPENT = corpus_examples.CORPUS["spent"]
LINES = b'{"question": "Why does it rain?", "answer": "Drops grow."}\n'
HOLDOUT = b'{"question": "What is a cloud?", "answer": "Drops of water."}\n'
CALLS = b'{"request": {}, "reply": {}}\n'
ADAPTER, CONFIG = b"the weights of a LoRA", b'{"peft_type": "LORA"}'
DRAWN = b'<svg xmlns="http://www.w3.org/2000/svg"><title>scores</title></svg>'
HISTORY = corpus_examples.PROMPT_HISTORY


def upload(client: TestClient, purpose: str, filename: str, data: bytes) -> dict[str, Any]:
    sent = client.post("/v1/files", data={"purpose": purpose}, files={"file": (filename, data)})
    assert sent.status_code == 201, sent.text
    return dict(sent.json())


def document(client: TestClient) -> str:
    return str(upload(client, "document", "rain.md", TEXT)["id"])


def pairs(client: TestClient) -> str:
    return str(upload_jsonl(client, "question_answers", PAIRS)["id"])


def corpus_body(client: TestClient, **changes: Any) -> dict[str, Any]:
    body = {"name": "Rain", "generators": [LOCAL], "teacher": LOCAL}
    return body | {"document_file_ids": [document(client)]} | changes


def create_corpus(client: TestClient, **changes: Any) -> dict[str, Any]:
    return _created(client, "corpora", corpus_body(client, **changes))


def create_base_model(client: TestClient, **changes: Any) -> dict[str, Any]:
    body = {"name": "Rain", "base_model": "tiny-enumerable"} | changes
    return _created(client, "base-models", body)


def create_evaluation(client: TestClient, **changes: Any) -> dict[str, Any]:
    models = [{"type": "base_model", "base_model": "tiny-enumerable"}]
    return _created(client, "evaluations", {"name": "Rain", "models": models} | changes)


def _created(client: TestClient, noun: str, body: dict[str, Any]) -> dict[str, Any]:
    sent = client.post(f"/v1/{noun}", json=body)
    assert sent.status_code == 201, sent.text
    return dict(sent.json())


def written(artifacts: ArtifactStore, **changes: Any) -> CorpusResult:
    """What the last stage of a corpus leaves, with all that it names in the store."""
    found = CorpusResult.model_validate(
        corpus_examples.CORPUS["result"]
        | {
            "lines": 1,
            "holdout_lines": 1,
            "lines_sha256": artifacts.put(LINES),
            "holdout_sha256": artifacts.put(HOLDOUT),
            "calls_sha256": artifacts.put(CALLS),
            "optimization": artifacts.put_json(HISTORY),
            "plot_sha256": artifacts.put(DRAWN),
        }
    )
    return found.model_copy(update=changes)


def fine_tuned(artifacts: ArtifactStore) -> BaseModelResult:
    """The tiny model's own files, as if training had left its weights as they were."""
    files = base_models.model_files("tiny-enumerable", _tiny_folder())
    for file in files:
        artifacts.put(file.read_bytes())
    checkpoint = {
        "step": 6,
        "holdout_loss": 1.87,
        "adapter_sha256": artifacts.put(ADAPTER),
        "config_sha256": artifacts.put(CONFIG),
    }
    return BaseModelResult.model_validate(
        corpus_examples.BASE_MODEL["result"]
        | {
            "revision": artifacts.put(base_models.listing(files).encode()),
            "checkpoints": [checkpoint],
            "plot_sha256": artifacts.put(DRAWN),
        }
    )


def evaluated(artifacts: ArtifactStore, job: EvaluationJobInput) -> EvaluationResult:
    row = corpus_examples.EVALUATION["result"]["rows"][0]
    rows = [
        row | {"model": each.model.model_dump(), "revision": each.revision} for each in job.models
    ]
    return EvaluationResult.model_validate(
        corpus_examples.EVALUATION["result"]
        | {
            "rows": rows,
            "answers_sha256": artifacts.put(LINES),
            "calls_sha256": artifacts.put(b""),
        }
    )


def _tiny_folder() -> Path:
    return tiny_model.write(base_models.cache_folder())


def left_by_last_stage(artifacts: ArtifactStore, job: Any) -> str | None:
    """The digest of a result of a job of these kinds; None for a job of another."""
    if isinstance(job, CorpusJobInput):
        return artifacts.put_json(written(artifacts).model_dump(mode="json"))
    if isinstance(job, BaseModelJobInput):
        return artifacts.put_json(fine_tuned(artifacts).model_dump(mode="json"))
    if isinstance(job, EvaluationJobInput):
        return artifacts.put_json(evaluated(artifacts, job).model_dump(mode="json"))
    return None


def finish_next(state: AppState, digest: str | None = None) -> leases.Claim:
    """Claim the next job, do its stages as the fake cluster would, and publish the result, or
    what `digest` holds in its place."""
    held = claim(state.database)
    left = digest or left_by_last_stage(state.artifacts, held.job)
    assert left is not None, f"job {held.job_id} is a {held.job.kind}'s"
    stages = stages_of(held.job.kind)
    with state.database.write() as session:
        for stage in stages:
            leases.start_stage(session, held, stage)
            if stage != "publish":
                leases.finish_stage(session, held, stage, left)
    publication.publish(state.database, state.artifacts, held, dict.fromkeys(stages, left))
    return held


def made_of_documents(operator: TestClient, state: AppState) -> dict[str, str]:
    """A corpus, a base model and an evaluation, all three made: their ids by path parameter, and
    those of the files that they are made of."""
    ids = {"document_id": document(operator), "pairs_id": pairs(operator), "step": "6"}
    makers = {
        "corpus_id": create_corpus,
        "base_model_id": create_base_model,
        "evaluation_id": create_evaluation,
    }
    for name, create in makers.items():
        named: dict[str, Any] = {"file_id": ids["pairs_id"]}
        if name == "corpus_id":
            named = {"budget": {"max_cost_micro_units": 5_000_000}}
        ids[name] = create(operator, **named)["id"]
        finish_next(state)
    return ids


def tell_spent(state: AppState, held: leases.Claim, **spent: Any) -> None:
    """As a stage does while it buys replies."""
    told = ProgressEvent(type="stage_progress", message="answering", data={"spent": SPENT | spent})
    with state.database.write() as session:
        leases.record(session, held, told)
