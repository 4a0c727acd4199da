"""Corpora over HTTP: what may be asked for, how they go on, and what is read of them."""

from pathlib import Path
from typing import Any

import pytest
from corpus_scenes import (
    CALLS,
    DRAWN,
    HISTORY,
    HOLDOUT,
    LINES,
    LOCAL,
    SPENT,
    corpus_body,
    create_corpus,
    document,
    finish_next,
    pairs,
    tell_spent,
    upload,
    written,
)
from fake_cluster import FakeCluster, job_row, running, status, until
from scenes import claim
from sqlalchemy import select
from starlette.testclient import TestClient
from support import MakeGroup, count_rows, upload_jsonl

from api_schemas.errors import NotFound
from api_schemas.jobs import CorpusJobInput, stages_of
from api_schemas.rounds import RoundFailure
from service.dependencies import AppState
from service.endpoints_file import EndpointList
from service.jobs import leases
from service.settings import Settings
from service.tables import AuditRow, CorpusRow, JobRow
from workers import base_models
from workers.artifacts import sha256_of

KEY = {"Idempotency-Key": "5f1c2b"}
NOBODYS = "0" * 26
STOPPED = RoundFailure(code="budget_exhausted", message="the budget of 1000 tokens is used up")


def fail(state: AppState, held: leases.Claim) -> None:
    with state.database.write() as session:
        leases.fail(session, held, STOPPED)


def test_a_corpus_waits_for_a_job_with_the_digests_of_all_that_it_names(
    operator: TestClient, state: AppState
) -> None:
    seeds = upload(operator, "questions", "seeds.jsonl", b'{"question": "Why?"}\n')
    optimized = {"pairs_file_id": pairs(operator), "judge": LOCAL}
    named = {"seed_questions_file_id": seeds["id"], "prompt_optimization": optimized}
    made = create_corpus(operator, **named)
    assert (made["status"], made["spent"], made["result"]) == ("queued", None, None)
    assert operator.get(f"/v1/corpora/{made['id']}").json() == made
    assert operator.get("/v1/corpora").json()["data"] == [made]
    job = operator.get(f"/v1/jobs/{made['job_id']}").json()
    assert (job["kind"], job["corpus_id"], job["round_id"]) == ("corpus", made["id"], None)
    assert [stage["name"] for stage in job["stages"]] == list(stages_of("corpus"))
    given = CorpusJobInput.model_validate(job_row(state.database, made["job_id"]).input)
    assert given.settings.model_dump(mode="json") == made["settings"]
    (read,) = given.documents
    stored = operator.get(f"/v1/files/{read.file_id}").json()
    assert (read.filename, read.sha256) == ("rain.md", stored["sha256"])
    assert given.seed_questions == seeds["sha256"]
    of_pairs = operator.get(f"/v1/files/{optimized['pairs_file_id']}").json()
    assert (given.pairs, given.replay_calls) == (of_pairs["sha256"], None)
    tiny = base_models.resolve("tiny-enumerable").revision
    assert given.base_models == {"tiny-enumerable": tiny}
    with state.database.read() as session:
        actions = session.scalars(select(AuditRow.action).where(AuditRow.subject == made["id"]))
        assert actions.all() == ["corpus.created"]


def test_what_a_corpus_cannot_be_made_of_is_refused_by_its_field(
    operator: TestClient, state: AppState
) -> None:
    questions = upload(operator, "questions", "seeds.jsonl", b'{"question": "Why?"}\n')["id"]
    unlisted = {"type": "local", "base_model": "owner/unlisted"}
    unmade = {"type": "local", "base_model": f"bm_{NOBODYS}"}
    optimized = {"pairs_file_id": questions, "judge": LOCAL}
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"document_file_ids": [document(operator), questions]}, 422, "document_file_ids[1]"),
        ({"document_file_ids": [f"file_{NOBODYS}"]}, 404, "document_file_ids[0]"),
        ({"seed_questions_file_id": document(operator)}, 422, "seed_questions_file_id"),
        ({"prompt_optimization": optimized}, 422, "prompt_optimization.pairs_file_id"),
        ({"generators": [LOCAL, unlisted]}, 422, "generators[1].base_model"),
        ({"teacher": unmade}, 404, "teacher.base_model"),
        ({"replay_of": f"corp_{NOBODYS}"}, 404, "replay_of"),
        ({"generators": []}, 422, "generators"),
        ({"colour": "red"}, 422, "colour"),
    ]
    for changes, code, param in wrong:
        refused = operator.post("/v1/corpora", json=corpus_body(operator, **changes))
        assert (refused.status_code, refused.json()["param"]) == (code, param), refused.text
    assert (count_rows(state, CorpusRow), count_rows(state, JobRow)) == (0, 0)


def test_endpoints_must_be_listed_with_the_model_and_priced_in_one_currency(
    operator: TestClient, state: AppState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(state.settings.__dict__, "endpoint_list", listed(tmp_path))
    dollars, euros = (endpoint(name) for name in ("dollars", "euros"))
    created = create_corpus(operator, generators=[dollars, LOCAL], teacher=dollars)
    assert created["settings"]["teacher"] == dollars
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"teacher": endpoint("elsewhere")}, "teacher.endpoint", "dollars, euros, unpriced, free"),
        ({"generators": [LOCAL, dollars | {"model": "large"}]}, "generators[1].model", "small"),
        ({"generators": [dollars], "teacher": euros}, "teacher.endpoint", "EUR"),
    ]
    for changes, param, told in wrong:
        refused = operator.post("/v1/corpora", json=corpus_body(operator, **changes))
        assert (refused.status_code, refused.json()["param"]) == (422, param), refused.text
        assert told in refused.json()["detail"]


def test_a_limit_of_money_needs_endpoints_with_prices(
    operator: TestClient, state: AppState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(state.settings.__dict__, "endpoint_list", listed(tmp_path))
    limited = {"max_cost_micro_units": 10}
    body = corpus_body(operator, teacher=endpoint("unpriced"), budget=limited)
    refused = operator.post("/v1/corpora", json=body)
    assert refused.status_code == 422
    assert refused.json()["param"] == "budget.max_cost_micro_units"
    for told in ("'unpriced' of teacher", "prompt_price, completion_price and currency"):
        assert told in refused.json()["detail"]
    evaluation = {
        "name": "Rain",
        "models": [{"type": "base_model", "base_model": "tiny-enumerable"}],
        "file_id": corpus_body(operator)["document_file_ids"][0],
        "judge": endpoint("unpriced"),
        "budget": limited,
    }
    refused = operator.post("/v1/evaluations", json=evaluation)
    assert refused.status_code == 422
    assert refused.json()["param"] == "budget.max_cost_micro_units"
    assert create_corpus(operator, teacher=endpoint("free"), budget=limited)
    created = create_corpus(operator, teacher=endpoint("unpriced"))
    operator.post(f"/v1/jobs/{created['job_id']}/cancel")
    resumed = operator.post(f"/v1/corpora/{created['id']}/resume", json={"budget": limited})
    assert resumed.status_code == 422
    assert resumed.json()["param"] == "budget.max_cost_micro_units"
    assert operator.get(f"/v1/corpora/{created['id']}").json() == created | {"status": "cancelled"}


def endpoint(name: str) -> dict[str, Any]:
    return {"type": "endpoint", "endpoint": name, "model": "small"}


def listed(folder: Path) -> EndpointList:
    table = '[{}]\nurl = "https://example.org/v1"\nmodels = ["small"]\nprompt_price = 1\n'
    path = folder / "endpoints.toml"
    path.write_text(
        "".join(
            table.format(name) + f'currency = "{currency}"\n'
            for name, currency in (("dollars", "USD"), ("euros", "EUR"))
        )
    )
    with path.open("a") as file:
        file.write('[unpriced]\nurl = "https://example.org/v1"\nmodels = ["small"]\n')
        file.write(table.format("free").replace("= 1", "= 0") + 'currency = "USD"\n')
    return EndpointList.read(path)


def test_a_file_of_a_group_is_no_document_of_the_operators(
    operator: TestClient, make_group: MakeGroup
) -> None:
    _, member = make_group("teachers")
    theirs = upload_jsonl(member, "prompts", [{"prompt": "red"}])["id"]
    body = corpus_body(operator, document_file_ids=[theirs])
    assert operator.post("/v1/corpora", json=body).status_code == 404


def test_a_document_that_is_named_twice_is_refused(operator: TestClient) -> None:
    file_id = document(operator)
    body = corpus_body(operator, document_file_ids=[file_id, file_id])
    refused = operator.post("/v1/corpora", json=body)
    assert (refused.status_code, refused.json()["param"]) == (422, "document_file_ids")
    assert f"names {file_id} twice" in refused.json()["detail"]


def test_a_corpus_asked_for_twice_under_one_key_is_one(
    operator: TestClient, state: AppState
) -> None:
    body = corpus_body(operator)
    first, again = (operator.post("/v1/corpora", json=body, headers=KEY) for _ in range(2))
    assert (again.status_code, again.json()) == (201, first.json())
    refused = operator.post("/v1/corpora", json=body | {"seed": 1}, headers=KEY)
    assert refused.json()["code"] == "idempotency_key_reused"
    assert (count_rows(state, CorpusRow), count_rows(state, JobRow)) == (1, 1)


def test_a_coordinator_makes_a_corpus_and_all_that_it_holds_is_downloaded(
    operator: TestClient, quick: Settings, cluster: FakeCluster, state: AppState
) -> None:
    made = create_corpus(operator)
    url = f"/v1/corpora/{made['id']}"
    for part in ("lines", "holdout", "calls", "history", "plot"):
        early = operator.get(f"{url}/{part}")
        assert (early.status_code, early.json()["code"]) == (409, "corpus_not_ready")
    with running(quick, cluster):
        until(lambda: status(state.database, made["job_id"]) == "succeeded")
    assert cluster.ran == list(stages_of("corpus")[:-1])
    done = operator.get(url).json()
    assert done["result"] == written(state.artifacts).model_dump(mode="json")
    assert (done["status"], done["spent"]) == ("succeeded", SPENT)
    for part, data in {"lines": LINES, "holdout": HOLDOUT, "calls": CALLS}.items():
        whole = operator.get(f"{url}/{part}")
        assert (whole.content, whole.headers["content-type"]) == (data, "application/jsonl")
        assert whole.headers["etag"] == f'"{sha256_of(data)}"'
        assert whole.headers["repr-digest"].startswith("sha-256=:")
        assert operator.get(f"{url}/{part}", headers={"Range": "bytes=2-5"}).content == data[2:6]
    assert operator.get(f"{url}/history").json() == HISTORY
    drawn = operator.get(f"{url}/plot")
    assert (drawn.content, drawn.headers["content-type"]) == (DRAWN, "image/svg+xml")


def test_without_an_optimisation_there_is_neither_history_nor_drawing(
    operator: TestClient, state: AppState
) -> None:
    made = create_corpus(operator)
    plain = written(state.artifacts, optimization=None, plot_sha256=None)
    finish_next(state, state.artifacts.put_json(plain.model_dump(mode="json")))
    for part in ("history", "plot"):
        assert operator.get(f"/v1/corpora/{made['id']}/{part}").status_code == 404


@pytest.mark.parametrize("named", ["lines_sha256", "calls_sha256", "optimization", "plot_sha256"])
def test_a_result_that_names_what_is_not_stored_is_not_published(
    operator: TestClient, state: AppState, named: str
) -> None:
    made = create_corpus(operator)
    lost = written(state.artifacts, **{named: sha256_of(b"lost")})
    with pytest.raises(NotFound, match=sha256_of(b"lost")):
        finish_next(state, state.artifacts.put_json(lost.model_dump(mode="json")))
    shown = operator.get(f"/v1/corpora/{made['id']}").json()
    assert (shown["status"], shown["result"]) == ("running", None)


def test_what_is_spent_is_shown_while_it_is_spent(operator: TestClient, state: AppState) -> None:
    made, other = create_corpus(operator), create_corpus(operator)
    held = claim(state.database)
    for tokens in (10, 400):
        tell_spent(state, held, prompt_tokens=tokens)
    shown = operator.get(f"/v1/corpora/{made['id']}").json()
    assert shown["spent"] == SPENT | {"prompt_tokens": 400}
    listed = operator.get("/v1/corpora").json()["data"]
    assert listed == [other, shown]


def test_a_corpus_that_stopped_goes_on_with_a_larger_budget_and_keeps_what_it_did(
    operator: TestClient, state: AppState
) -> None:
    made = create_corpus(operator, budget={"max_tokens": 1000})
    held = claim(state.database)
    with state.database.write() as session:
        leases.start_stage(session, held, "write_questions")
        leases.finish_stage(session, held, "write_questions", sha256_of(LINES))
    tell_spent(state, held, prompt_tokens=700, completion_tokens=250)
    fail(state, held)
    url = f"/v1/corpora/{made['id']}"
    budget = {"max_tokens": 5000, "max_cost_micro_units": 70_190}
    resumed = operator.post(f"{url}/resume", json={"budget": budget})
    assert resumed.status_code == 200, resumed.text
    assert resumed.json()["settings"] == made["settings"] | {"budget": budget}
    assert (resumed.json()["status"], resumed.json()["job_id"]) == ("queued", made["job_id"])
    assert resumed.json()["spent"]["prompt_tokens"] == 700
    again = claim(state.database)
    assert isinstance(again.job, CorpusJobInput)
    assert again.job.settings.budget.max_tokens == 5000
    assert again.job.settings.model_dump(mode="json") == resumed.json()["settings"]
    assert again.digests == {"write_questions": sha256_of(LINES)}
    with state.database.read() as session:
        actions = session.scalars(select(AuditRow.action).where(AuditRow.subject == made["id"]))
        assert sorted(actions) == ["corpus.created", "corpus.resumed"]
    events = operator.get(f"/v1/jobs/{made['job_id']}/events").json()["data"]
    told = [event["message"] for event in events if event["type"] == "job_queued"]
    assert told[-1] == "resumed with a budget of 5000 tokens and 70190 micro-units"


def test_a_budget_below_what_is_spent_is_refused_and_nothing_is_queued(
    operator: TestClient, state: AppState
) -> None:
    made = create_corpus(operator)
    held = claim(state.database)
    tell_spent(state, held, prompt_tokens=700, completion_tokens=250)
    fail(state, held)
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"max_tokens": 949}, "budget.max_tokens", "949 is below the 950 tokens"),
        (
            {"max_tokens": 950, "max_cost_micro_units": 70_189},
            "budget.max_cost_micro_units",
            "70189 is below the 70190",
        ),
    ]
    for budget, param, told in wrong:
        refused = operator.post(f"/v1/corpora/{made['id']}/resume", json={"budget": budget})
        assert (refused.status_code, refused.json()["param"]) == (422, param)
        assert told in refused.json()["detail"]
    assert status(state.database, made["job_id"]) == "failed"


def test_only_a_corpus_that_stopped_is_resumed(operator: TestClient, state: AppState) -> None:
    made = create_corpus(operator)
    resume = f"/v1/corpora/{made['id']}/resume"
    body = {"budget": {"max_tokens": 5000}}
    for expected in ("queued", "succeeded"):
        refused = operator.post(resume, json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "corpus_not_resumable")
        assert f"is {expected};" in refused.json()["detail"]
        if expected == "queued":
            finish_next(state)
    cancelled = create_corpus(operator)
    operator.post(f"/v1/jobs/{cancelled['job_id']}/cancel").raise_for_status()
    told = operator.get("/v1/audit-log", params={"subject": cancelled["job_id"]}).json()["data"]
    assert [entry["action"] for entry in told] == ["job.cancel_requested"]
    assert operator.post(f"/v1/corpora/{cancelled['id']}/resume", json=body).status_code == 200
    unknown = operator.post(f"/v1/corpora/corp_{NOBODYS}/resume", json=body)
    assert unknown.status_code == 404


def test_a_replay_takes_the_calls_of_a_corpus_that_is_made_and_its_models_revisions(
    operator: TestClient, state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create_corpus(operator)
    body = corpus_body(operator, replay_of=made["id"])
    early = operator.post("/v1/corpora", json=body)
    assert (early.status_code, early.json()["param"]) == (409, "replay_of")
    finish_next(state)
    # An endpoint that has left the operator's list, and weights that have changed since.
    endpoint = {"type": "endpoint", "endpoint": "gone", "model": "gpt-5-mini"}
    monkeypatch.setattr(base_models, "resolve", lambda name: pytest.fail(f"looked for {name}"))
    replayed = operator.post("/v1/corpora", json=body | {"generators": [LOCAL, endpoint]})
    assert replayed.status_code == 201, replayed.text
    row = job_row(state.database, replayed.json()["job_id"])
    before = job_row(state.database, made["job_id"])
    assert row.input["replay_calls"] == sha256_of(CALLS)
    assert row.input["base_models"] == before.input["base_models"]


def test_groups_learn_nothing_of_a_corpus(
    operator: TestClient, state: AppState, make_group: MakeGroup
) -> None:
    _, member = make_group("teachers")
    made = create_corpus(operator)
    finish_next(state)
    url = f"/v1/corpora/{made['id']}"
    parts = ("lines", "holdout", "calls", "history", "plot")
    for path in ("/v1/corpora", url, *(f"{url}/{part}" for part in parts)):
        assert member.get(path).status_code == 403
    assert member.post("/v1/corpora", json=corpus_body(operator)).status_code == 403
    resume = member.post(f"{url}/resume", json={"budget": {}})
    assert resume.status_code == 403
    assert member.get("/v1/jobs").json()["data"] == []
    assert member.get(f"/v1/jobs/{made['job_id']}").status_code == 404


def test_a_document_stays_until_its_corpus_is_made(operator: TestClient, state: AppState) -> None:
    optimized = {"pairs_file_id": pairs(operator), "judge": LOCAL}
    made = create_corpus(operator, prompt_optimization=optimized)
    named = [*made["settings"]["document_file_ids"], optimized["pairs_file_id"]]
    for file_id in named:
        refused = operator.delete(f"/v1/files/{file_id}")
        assert (refused.status_code, refused.json()["code"]) == (409, "file_in_use")
        assert made["id"] in refused.json()["detail"]
    finish_next(state)
    for file_id in named:
        assert operator.delete(f"/v1/files/{file_id}").status_code == 200


def test_the_operators_corpora_count_against_its_quota_of_unfinished_jobs(
    operator: TestClient, state: AppState
) -> None:
    body = corpus_body(operator)
    for _ in range(state.settings.quota_unfinished_jobs):
        made = operator.post("/v1/corpora", json=body)
    assert made.status_code == 201
    for refused in (
        operator.post("/v1/corpora", json=body),
        operator.post("/v1/base-models", json={"name": "Rain", "file_id": pairs(operator)}),
    ):
        assert refused.json()["code"] == "quota_exceeded", refused.text
