"""Base models made here, over HTTP: what they are made of, who sees them, and rounds on them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from corpus_scenes import (
    ADAPTER,
    CONFIG,
    DRAWN,
    PAIRS,
    create_base_model,
    create_corpus,
    fine_tuned,
    finish_next,
    pairs,
    written,
)
from fake_cluster import FakeCluster, job_row, running, status, until
from sqlalchemy import select
from starlette.testclient import TestClient
from support import VAULT, MakeGroup, UploadPrompts, count_rows, round_body, upload_jsonl

from api_schemas.errors import NotFound
from api_schemas.jobs import BaseModelJobInput, stages_of
from service.collection.collecting import collect
from service.dependencies import AppState
from service.settings import Settings
from service.tables import AuditRow, FineTunedBaseModelRow, JobRow
from workers import base_models, own_base_models
from workers.artifacts import ArtifactStore, sha256_of

KEY = {"Idempotency-Key": "5f1c2b"}
NOBODYS = "0" * 26
STEP = "checkpoints/6"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is materialised must not stay for other tests."""
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path / "cache"))


def test_a_base_model_waits_for_a_job_with_the_lines_of_its_corpus(
    operator: TestClient, state: AppState
) -> None:
    corpus = create_corpus(operator)
    body = {"name": "Rain", "base_model": "tiny-enumerable", "corpus_id": corpus["id"]}
    early = operator.post("/v1/base-models", json=body)
    assert (early.status_code, early.json()["param"]) == (409, "corpus_id")
    finish_next(state)
    made = create_base_model(operator, corpus_id=corpus["id"])
    assert (made["status"], made["result"]) == ("queued", None)
    assert operator.get("/v1/base-models").json()["data"] == [made]
    job = operator.get(f"/v1/jobs/{made['job_id']}").json()
    assert (job["kind"], job["base_model_id"]) == ("base_model", made["id"])
    assert [stage["name"] for stage in job["stages"]] == list(stages_of("base_model"))
    given = BaseModelJobInput.model_validate(job_row(state.database, made["job_id"]).input)
    found = written(state.artifacts)
    assert (given.lines, given.holdout) == (found.lines_sha256, found.holdout_sha256)
    assert given.base_model_revision == base_models.resolve("tiny-enumerable").revision
    with state.database.read() as session:
        actions = session.scalars(select(AuditRow.action).where(AuditRow.subject == made["id"]))
        assert actions.all() == ["base_model.created"]


def test_a_file_of_questions_and_answers_serves_instead_of_a_corpus(
    operator: TestClient, state: AppState
) -> None:
    file_id = pairs(operator)
    made = create_base_model(operator, file_id=file_id)
    given = BaseModelJobInput.model_validate(job_row(state.database, made["job_id"]).input)
    stored = operator.get(f"/v1/files/{file_id}").json()
    assert (given.lines, given.holdout) == (stored["sha256"], None)
    assert operator.delete(f"/v1/files/{file_id}").json()["code"] == "file_in_use"
    finish_next(state)
    assert operator.delete(f"/v1/files/{file_id}").status_code == 200


def test_what_a_base_model_cannot_be_made_of_is_refused_by_its_field(
    operator: TestClient, state: AppState
) -> None:
    prompts = upload_jsonl(operator, "prompts", [{"prompt": "red"}])["id"]
    one_line = upload_jsonl(operator, "question_answers", PAIRS[:1])["id"]
    good = pairs(operator)
    create_corpus(operator)
    nothing = written(state.artifacts, holdout_lines=0).model_dump(mode="json")
    empty = finish_next(state, state.artifacts.put_json(nothing)).job.corpus_id  # type: ignore[union-attr]
    jobs = count_rows(state, JobRow)
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"file_id": prompts}, 422, "file_id"),
        ({"file_id": one_line}, 422, "file_id"),
        ({"corpus_id": empty}, 422, "corpus_id"),
        ({"corpus_id": f"corp_{NOBODYS}"}, 404, "corpus_id"),
        ({"file_id": good, "base_model": "owner/unlisted"}, 422, "base_model"),
        ({"file_id": good, "base_model": f"bm_{NOBODYS}"}, 404, "base_model"),
        ({"file_id": good, "method": {"lora_rank": 0}}, 422, "method.lora_rank"),
    ]
    for changes, code, param in wrong:
        refused = operator.post("/v1/base-models", json={"name": "Rain"} | changes)
        assert (refused.status_code, refused.json()["param"]) == (code, param), refused.text
    both = {"name": "Rain", "file_id": good, "corpus_id": empty}
    assert operator.post("/v1/base-models", json=both).status_code == 422
    assert (count_rows(state, FineTunedBaseModelRow), count_rows(state, JobRow)) == (0, jobs)


def test_a_base_model_asked_for_twice_under_one_key_is_one(
    operator: TestClient, state: AppState
) -> None:
    body = {"name": "Rain", "base_model": "tiny-enumerable", "file_id": pairs(operator)}
    first, again = (operator.post("/v1/base-models", json=body, headers=KEY) for _ in range(2))
    assert (again.status_code, again.json()) == (201, first.json())
    assert count_rows(state, FineTunedBaseModelRow) == 1


def test_a_coordinator_makes_a_base_model_and_its_checkpoints_are_downloaded(
    operator: TestClient, quick: Settings, cluster: FakeCluster, state: AppState
) -> None:
    made = create_base_model(operator, file_id=pairs(operator))
    url = f"/v1/base-models/{made['id']}"
    assert operator.get(f"{url}/plot").json()["code"] == "base_model_not_ready"
    with running(quick, cluster):
        until(lambda: status(state.database, made["job_id"]) == "succeeded")
    assert cluster.ran == ["fine_tune"]
    done = operator.get(url).json()
    assert done["result"] == fine_tuned(state.artifacts).model_dump(mode="json")
    files = {"adapter_model.safetensors": ADAPTER, "adapter_config.json": CONFIG}
    for name, data in files.items():
        whole = operator.get(f"{url}/{STEP}/{name}")
        assert (whole.content, whole.headers["etag"]) == (data, f'"{sha256_of(data)}"')
        part = operator.get(f"{url}/{STEP}/{name}", headers={"Range": "bytes=1-3"})
        assert (part.status_code, part.content) == (206, data[1:4])
    assert operator.get(f"{url}/plot").content == DRAWN
    assert operator.get(f"{url}/checkpoints/7/adapter_config.json").status_code == 404
    assert operator.get(f"{url}/{STEP}/optimizer.pt").status_code == 422


def test_a_base_model_without_one_of_its_files_is_not_published(
    operator: TestClient, state: AppState
) -> None:
    made = create_base_model(operator, file_id=pairs(operator))
    found = fine_tuned(state.artifacts)
    listing = state.artifacts.get(found.revision)
    lost = listing + f"vocab.json {'0' * 64}\n".encode()
    damaged = found.model_copy(update={"revision": state.artifacts.put(lost)})
    with pytest.raises(NotFound, match="0" * 64):
        finish_next(state, state.artifacts.put_json(damaged.model_dump(mode="json")))
    shown = operator.get(f"/v1/base-models/{made['id']}").json()
    assert (shown["status"], shown["result"]) == ("running", None)


def test_a_round_starts_from_a_base_model_once_it_is_made(
    operator: TestClient, state: AppState, upload_prompts: UploadPrompts
) -> None:
    made = create_base_model(operator, file_id=pairs(operator))
    body = round_body(upload_prompts(), base_model=made["id"])
    early = operator.post("/v1/rounds", json=body)
    assert (early.status_code, early.json()["param"]) == (409, "base_model")
    finish_next(state)
    announced = operator.post("/v1/rounds", json=body)
    assert announced.status_code == 201, announced.text
    revision = fine_tuned(state.artifacts).revision
    assert announced.json()["announcement"]["base_model_revision"] == revision
    assert announced.json()["announcement"]["base_model"] == made["id"]
    folder = own_base_models.folder_of(made["id"])
    assert (folder / "config.json").is_file()
    too_long = round_body(upload_prompts(), base_model=made["id"])
    too_long["generation"] = {"max_new_tokens": 4096}
    assert operator.post("/v1/rounds", json=too_long).json()["code"] == "prompt_too_long"
    unknown = operator.post("/v1/rounds", json=body | {"base_model": f"bm_{NOBODYS}"})
    assert (unknown.status_code, unknown.json()["param"]) == (404, "base_model")


def test_a_base_model_is_fine_tuned_further_from_the_weights_that_it_has(
    operator: TestClient, state: AppState
) -> None:
    first = create_base_model(operator, file_id=pairs(operator))
    finish_next(state)
    again = create_base_model(operator, base_model=first["id"], file_id=pairs(operator))
    given = BaseModelJobInput.model_validate(job_row(state.database, again["job_id"]).input)
    assert given.base_model_revision == fine_tuned(state.artifacts).revision


def test_groups_see_a_base_model_once_a_round_that_starts_from_it_is_opened(
    operator: TestClient, state: AppState, make_group: MakeGroup, upload_prompts: UploadPrompts
) -> None:
    _, member = make_group("teachers")
    made = create_base_model(operator, file_id=pairs(operator))
    finish_next(state)
    url = f"/v1/base-models/{made['id']}"
    paths = (url, f"{url}/plot", f"{url}/{STEP}/adapter_config.json")
    draft = operator.post("/v1/rounds", json=round_body(upload_prompts(), base_model=made["id"]))
    for path in paths:
        assert member.get(path).status_code == 404
    operator.post(f"/v1/rounds/{draft.json()['id']}/open").raise_for_status()
    for path in paths:
        assert member.get(path).content == operator.get(path).content
    assert member.get("/v1/base-models").status_code == 403
    body = {"name": "Rain", "file_id": pairs(operator)}
    assert member.post("/v1/base-models", json=body).status_code == 403
    assert member.get(f"/v1/jobs/{made['job_id']}").status_code == 404


def test_a_collection_keeps_every_file_of_a_base_model_and_of_its_checkpoints(
    operator: TestClient, state: AppState
) -> None:
    create_base_model(operator, file_id=pairs(operator))
    finish_next(state)
    found = fine_tuned(state.artifacts)
    garbage = state.artifacts.put(b"nobody's")
    collect(state.database, VAULT, state.artifacts, timedelta(seconds=-60), dry_run=False)
    assert not state.artifacts.exists(garbage)
    files = own_base_models.files_of(state.artifacts, found.revision)
    (checkpoint,) = found.checkpoints
    kept = [*files.values(), checkpoint.adapter_sha256, checkpoint.config_sha256]
    assert "config.json" in files
    assert all(state.artifacts.exists(digest) for digest in (*kept, found.plot_sha256))


def test_a_materialised_base_model_is_the_one_that_was_made(
    operator: TestClient, state: AppState, settings: Settings
) -> None:
    made = create_base_model(operator, file_id=pairs(operator))
    finish_next(state)
    revision = operator.get(f"/v1/base-models/{made['id']}").json()["result"]["revision"]
    store = ArtifactStore(settings.resolved_artifacts_url)
    own_base_models.materialise(store, made["id"], revision)
    assert base_models.resolve(made["id"]).revision == revision
