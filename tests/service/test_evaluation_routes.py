"""Evaluations over HTTP: which models on which questions, and what is read of them."""

from pathlib import Path
from typing import Any

import pytest
from corpus_scenes import (
    LINES,
    create_base_model,
    create_corpus,
    create_evaluation,
    evaluated,
    fine_tuned,
    finish_next,
    pairs,
    tell_spent,
    written,
)
from fake_cluster import FakeCluster, job_row, running, status, until
from scenes import claim, queue_job, settle_next
from sqlalchemy import select
from starlette.testclient import TestClient
from support import MakeGroup, count_rows, upload_jsonl

from api_schemas.errors import NotFound
from api_schemas.jobs import EvaluationJobInput, stages_of
from api_schemas.rounds import RoundFailure
from service.dependencies import AppState
from service.jobs import leases
from service.settings import Settings
from service.tables import AuditRow, EvaluationRow, JobRow
from workers import base_models
from workers.artifacts import sha256_of

KEY = {"Idempotency-Key": "5f1c2b"}
NOBODYS = "0" * 26
STOPPED = RoundFailure(code="budget_exhausted", message="the budget of 1000 tokens is used up")
TINY = {"type": "base_model", "base_model": "tiny-enumerable"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is materialised must not stay for other tests."""
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path / "cache"))


def test_an_evaluation_pins_every_model_and_takes_the_questions_that_a_corpus_holds_out(
    operator: TestClient, state: AppState
) -> None:
    corpus = create_corpus(operator)
    finish_next(state)
    made_here = create_base_model(operator, corpus_id=corpus["id"])["id"]
    finish_next(state)
    queue_job(state.database)
    settle_next(state)
    (tuned,) = operator.get("/v1/models").json()["data"]
    models = [
        TINY,
        {"type": "base_model", "base_model": made_here},
        {"type": "tuned", "model_id": tuned["id"]},
    ]
    judge = {"type": "local", "base_model": made_here}
    made = create_evaluation(operator, models=models, corpus_id=corpus["id"], judge=judge)
    assert (made["status"], made["result"]) == ("queued", None)
    job = operator.get(f"/v1/jobs/{made['job_id']}").json()
    assert (job["kind"], job["evaluation_id"]) == ("evaluation", made["id"])
    assert [stage["name"] for stage in job["stages"]] == list(stages_of("evaluation"))
    given = EvaluationJobInput.model_validate(job_row(state.database, made["job_id"]).input)
    tiny, own = base_models.resolve("tiny-enumerable"), fine_tuned(state.artifacts).revision
    assert [(each.base_model, each.revision) for each in given.models] == [
        ("tiny-enumerable", tiny.revision),
        (made_here, own),
        (tuned["base_model"], tuned["base_model_revision"]),
    ]
    files = {file["name"]: file["sha256"] for file in tuned["files"]}
    assert [each.adapter for each in given.models] == [None, None, files]
    assert given.questions == written(state.artifacts).holdout_sha256
    assert given.base_models == {made_here: own}
    with state.database.read() as session:
        actions = session.scalars(select(AuditRow.action).where(AuditRow.subject == made["id"]))
        assert actions.all() == ["evaluation.created"]


def test_what_cannot_be_evaluated_is_refused_by_its_field(
    operator: TestClient, state: AppState
) -> None:
    good = pairs(operator)
    prompts = upload_jsonl(operator, "prompts", [{"prompt": "red"}])["id"]
    unlisted = {"type": "base_model", "base_model": "owner/unlisted"}
    unknown = {"type": "tuned", "model_id": f"mdl_{NOBODYS}"}
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"file_id": good, "models": [TINY, unlisted]}, 422, "models[1].base_model"),
        ({"file_id": good, "models": [TINY, unknown]}, 404, "models[1].model_id"),
        ({"file_id": good, "models": []}, 422, "models"),
        ({"file_id": prompts}, 422, "file_id"),
        ({"corpus_id": f"corp_{NOBODYS}"}, 404, "corpus_id"),
        (
            {"file_id": good, "judge": {"type": "local", "base_model": "owner/unlisted"}},
            422,
            "judge.base_model",
        ),
    ]
    for changes, code, param in wrong:
        body = {"name": "Rain", "models": [TINY]} | changes
        refused = operator.post("/v1/evaluations", json=body)
        assert (refused.status_code, refused.json()["param"]) == (code, param), refused.text
    assert (count_rows(state, EvaluationRow), count_rows(state, JobRow)) == (0, 0)


def test_a_model_is_not_asked_the_very_lines_that_it_was_trained_on(
    operator: TestClient, state: AppState
) -> None:
    trained_on = pairs(operator)
    first = create_base_model(operator, file_id=trained_on)["id"]
    finish_next(state)
    other = upload_jsonl(operator, "question_answers", [{"question": "Why?", "answer": "So."}] * 2)
    further = create_base_model(operator, base_model=first, file_id=other["id"])["id"]
    finish_next(state)
    same_bytes = pairs(operator)
    unseen = upload_jsonl(operator, "question_answers", [{"question": "How?", "answer": "So."}])
    for trained in (first, further):
        models = [TINY, {"type": "base_model", "base_model": trained}]
        body = {"name": "Rain", "models": models, "file_id": same_bytes}
        refused = operator.post("/v1/evaluations", json=body)
        assert (refused.status_code, refused.json()["param"]) == (422, "models[1]"), refused.text
        told = refused.json()["detail"]
        assert f"file_id {same_bytes} (base model {first})" in told
        assert "corpus_id" in told
        create_evaluation(operator, models=models, file_id=unseen["id"])


def test_an_evaluation_asked_for_twice_under_one_key_is_one(
    operator: TestClient, state: AppState
) -> None:
    body = {"name": "Rain", "models": [TINY], "file_id": pairs(operator)}
    first, again = (operator.post("/v1/evaluations", json=body, headers=KEY) for _ in range(2))
    assert (again.status_code, again.json()) == (201, first.json())
    assert count_rows(state, EvaluationRow) == 1


def test_a_coordinator_evaluates_and_answers_and_calls_are_downloaded(
    operator: TestClient, quick: Settings, cluster: FakeCluster, state: AppState
) -> None:
    file_id = pairs(operator)
    made = create_evaluation(operator, file_id=file_id)
    assert operator.delete(f"/v1/files/{file_id}").json()["code"] == "file_in_use"
    url = f"/v1/evaluations/{made['id']}"
    assert operator.get(f"{url}/answers").json()["code"] == "evaluation_not_ready"
    with running(quick, cluster):
        until(lambda: status(state.database, made["job_id"]) == "succeeded")
    assert cluster.ran == ["evaluate"]
    done = operator.get(url).json()
    given = EvaluationJobInput.model_validate(job_row(state.database, made["job_id"]).input)
    assert done["result"] == evaluated(state.artifacts, given).model_dump(mode="json")
    assert operator.get("/v1/evaluations").json()["data"] == [done]
    assert operator.get(f"{url}/answers").content == LINES
    without_a_judge = operator.get(f"{url}/calls")
    assert (without_a_judge.status_code, without_a_judge.content) == (200, b"")
    assert operator.delete(f"/v1/files/{file_id}").status_code == 200


def test_an_evaluation_whose_answers_are_not_stored_is_not_published(
    operator: TestClient, state: AppState
) -> None:
    made = create_evaluation(operator, file_id=pairs(operator))
    given = EvaluationJobInput.model_validate(job_row(state.database, made["job_id"]).input)
    found = evaluated(state.artifacts, given)
    lost = found.model_copy(update={"answers_sha256": sha256_of(b"lost")})
    with pytest.raises(NotFound, match=sha256_of(b"lost")):
        finish_next(state, state.artifacts.put_json(lost.model_dump(mode="json")))
    shown = operator.get(f"/v1/evaluations/{made['id']}").json()
    assert (shown["status"], shown["result"]) == ("running", None)


def test_an_evaluation_that_stopped_goes_on_with_a_larger_budget(
    operator: TestClient, state: AppState
) -> None:
    made = create_evaluation(operator, file_id=pairs(operator), budget={"max_tokens": 1000})
    resume = f"/v1/evaluations/{made['id']}/resume"
    budget = {"max_tokens": 5000, "max_cost_micro_units": 70_190}
    early = operator.post(resume, json={"budget": budget})
    assert (early.status_code, early.json()["code"]) == (409, "evaluation_not_resumable")
    held = claim(state.database)
    tell_spent(state, held, prompt_tokens=700, completion_tokens=250)
    with state.database.write() as session:
        leases.fail(session, held, STOPPED)
    refused = operator.post(resume, json={"budget": budget | {"max_tokens": 949}})
    assert (refused.status_code, refused.json()["param"]) == (422, "budget.max_tokens")
    resumed = operator.post(resume, json={"budget": budget})
    assert resumed.status_code == 200, resumed.text
    assert (resumed.json()["status"], resumed.json()["job_id"]) == ("queued", made["job_id"])
    assert resumed.json()["settings"] == made["settings"] | {"budget": budget}
    again = claim(state.database)
    assert isinstance(again.job, EvaluationJobInput)
    # The book of calls is the evaluation's: what the judge was paid for is in it.
    assert again.job.evaluation_id == made["id"]
    assert again.job.settings.model_dump(mode="json") == resumed.json()["settings"]
    with state.database.read() as session:
        actions = session.scalars(select(AuditRow.action).where(AuditRow.subject == made["id"]))
        assert sorted(actions) == ["evaluation.created", "evaluation.resumed"]


def test_groups_learn_nothing_of_an_evaluation(
    operator: TestClient, state: AppState, make_group: MakeGroup
) -> None:
    _, member = make_group("teachers")
    made = create_evaluation(operator, file_id=pairs(operator))
    finish_next(state)
    url = f"/v1/evaluations/{made['id']}"
    for path in ("/v1/evaluations", url, f"{url}/answers", f"{url}/calls"):
        assert member.get(path).status_code == 403
    body = {"name": "Rain", "models": [TINY], "file_id": pairs(operator)}
    assert member.post("/v1/evaluations", json=body).status_code == 403
    assert member.post(f"{url}/resume", json={"budget": {}}).status_code == 403
    assert member.get(f"/v1/jobs/{made['job_id']}").status_code == 404
