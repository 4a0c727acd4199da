"""Rounds: what is announced stays, and states change only as they may."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient
from support import (
    PAIRS,
    VAULT,
    MakeGroup,
    OpenRound,
    UploadPrompts,
    report_body,
    round_body,
    upload_jsonl,
)

from api_schemas.errors import Conflict
from api_schemas.jobs import RoundJob
from api_schemas.rounds import Announcement, RoundState
from service.dependencies import AppState
from service.reports.repository import job_inputs
from service.rounds import lifecycle, repository
from service.tables import AuditRow, JobRow, RoundRow
from workers import base_models
from workers.artifacts import canonical_json, sha256_of


def test_a_draft_announces_the_digests_of_model_and_prompts(
    operator: TestClient, upload_prompts: UploadPrompts
) -> None:
    file_id = upload_prompts()
    created = operator.post("/v1/rounds", json=round_body(file_id))
    assert created.status_code == 201
    body = created.json()
    announced = body["announcement"]
    assert body["state"] == "draft"
    assert announced["base_model_revision"] == base_models.resolve("tiny-enumerable").revision
    assert announced["prompts_sha256"] == operator.get(f"/v1/files/{file_id}").json()["sha256"]
    assert body["announcement_digest"] == sha256_of(canonical_json(announced))
    assert operator.get(f"/v1/rounds/{body['id']}").json() == body
    Announcement.model_validate(announced)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"base_model": "no-such-model"}, "base_model"),
        ({"base_model": "~nobody-here/model"}, "base_model"),
        ({"base_model": "x" * 400}, "base_model"),
        ({"generation": {"max_new_tokens": 63}}, "prompts[0]"),
        ({"closes_at": "2020-01-01T00:00:00Z"}, "closes_at"),
        ({"closes_at": "2030-01-01T00:00:00"}, "closes_at"),
        ({"max_group_size": 0}, "max_group_size"),
        ({"regularizer": {"type": "kl", "coefficient": 0}}, "regularizer.coefficient"),
        ({"training": {"steps": "many"}}, "training.steps"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_cannot_be_announced_is_named(
    operator: TestClient, upload_prompts: UploadPrompts, changes: dict[str, Any], param: str
) -> None:
    refused = operator.post("/v1/rounds", json=round_body(upload_prompts(), **changes))
    assert refused.status_code == 422
    assert refused.json()["param"] == param
    assert operator.get("/v1/rounds").json()["data"] == []


def test_a_round_needs_a_file_of_prompts(operator: TestClient, make_group: MakeGroup) -> None:
    pairs = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    preferences = upload_jsonl(operator, "preferences", pairs)["id"]
    refused = operator.post("/v1/rounds", json=round_body(preferences))
    assert (refused.status_code, refused.json()["param"]) == (422, "prompts_file_id")
    _, group = make_group("teachers")
    of_a_group = upload_jsonl(group, "prompts", [{"prompt": "red"}])["id"]
    for unseen in (of_a_group, "file_" + "0" * 26):
        refused = operator.post("/v1/rounds", json=round_body(unseen))
        assert (refused.status_code, refused.json()["param"]) == (404, "prompts_file_id")


def test_a_group_sees_a_round_from_its_opening_on(
    operator: TestClient, make_group: MakeGroup, upload_prompts: UploadPrompts
) -> None:
    _, group = make_group("teachers")
    round_id = operator.post("/v1/rounds", json=round_body(upload_prompts())).json()["id"]
    assert group.get(f"/v1/rounds/{round_id}").status_code == 404
    assert group.get("/v1/rounds").json()["data"] == []
    operator.post(f"/v1/rounds/{round_id}/open")
    assert group.get(f"/v1/rounds/{round_id}").json()["state"] == "open"
    assert len(group.get("/v1/rounds").json()["data"]) == 1


def test_a_draft_that_was_cancelled_is_never_shown_to_groups(
    operator: TestClient, make_group: MakeGroup, upload_prompts: UploadPrompts
) -> None:
    _, group = make_group("teachers")
    round_id = operator.post("/v1/rounds", json=round_body(upload_prompts())).json()["id"]
    assert operator.post(f"/v1/rounds/{round_id}/cancel").json()["state"] == "cancelled"
    assert group.get(f"/v1/rounds/{round_id}").status_code == 404


def test_a_group_may_not_open_close_or_cancel(make_group: MakeGroup, open_round: OpenRound) -> None:
    _, group = make_group("teachers")
    round_id = open_round()["id"]
    for act in ("open", "close", "cancel"):
        assert group.post(f"/v1/rounds/{round_id}/{act}").status_code == 403


def test_the_close_queues_a_job_with_every_report_in_order(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    opened = open_round()
    group_ids = []
    for number, name in enumerate(["teachers", "pupils", "parents"], start=1):
        group_id, group = make_group(name)
        group_ids.append(group_id)
        url = f"/v1/rounds/{opened['id']}/report"
        assert group.put(url, json=report_body(size=number)).status_code == 200
    closed = operator.post(f"/v1/rounds/{opened['id']}/close")
    assert closed.status_code == 200
    assert closed.json()["state"] == "closed"
    assert closed.json()["job_id"] is not None
    with state.database.read() as session:
        job = session.get_one(JobRow, closed.json()["job_id"])
        reports = job_inputs(session, VAULT, opened["id"])
    assert RoundJob.model_validate(job.input).announcement_digest == opened["announcement_digest"]
    assert "reports" not in job.input
    assert [report.group_id for report in reports] == sorted(group_ids)
    assert {report.group_id: report.size for report in reports} == {
        group_id: number for number, group_id in enumerate(group_ids, start=1)
    }


def test_the_job_names_the_bytes_of_a_preference_file(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    round_id = open_round()["id"]
    _, group = make_group("teachers")
    file = upload_jsonl(group, "preferences", PAIRS)
    spec = {
        "type": "preference_data",
        "file_id": file["id"],
        "method": {"name": "tfidf_bradley_terry"},
    }
    put = group.put(f"/v1/rounds/{round_id}/report", json={"size": 2, "reward_model": spec})
    assert put.status_code == 200
    assert put.json()["probe"] is None
    operator.post(f"/v1/rounds/{round_id}/close")
    with state.database.read() as session:
        (report,) = job_inputs(session, VAULT, round_id)
    assert report.pinned.files == {file["id"]: file["sha256"]}


def test_a_round_closed_without_reports_fails_with_the_reason(
    operator: TestClient, open_round: OpenRound
) -> None:
    closed = operator.post(f"/v1/rounds/{open_round()['id']}/close").json()
    assert closed["state"] == "failed"
    assert closed["failure"]["code"] == "no_reports"
    assert closed["job_id"] is None


def test_an_announced_deadline_binds_the_operator_too(
    operator: TestClient, open_round: OpenRound, state: AppState
) -> None:
    deadline = datetime.now(UTC) + timedelta(hours=1)
    round_id = open_round(closes_at=deadline.isoformat())["id"]
    refused = operator.post(f"/v1/rounds/{round_id}/close")
    assert refused.status_code == 409
    assert refused.json()["code"] == "deadline_not_reached"
    _let_the_deadline_pass(state, round_id)
    assert operator.post(f"/v1/rounds/{round_id}/close").json()["state"] == "failed"


def test_a_draft_whose_deadline_passed_cannot_be_opened(
    operator: TestClient, upload_prompts: UploadPrompts, state: AppState
) -> None:
    deadline = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = round_body(upload_prompts(), closes_at=deadline)
    round_id = operator.post("/v1/rounds", json=body).json()["id"]
    _let_the_deadline_pass(state, round_id)
    refused = operator.post(f"/v1/rounds/{round_id}/open")
    assert (refused.status_code, refused.json()["code"]) == (409, "deadline_passed")


def test_due_rounds_are_those_open_beyond_their_deadline(
    open_round: OpenRound, state: AppState
) -> None:
    deadline = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    due, _later, _by_hand = (
        open_round(closes_at=deadline)["id"],
        open_round(closes_at=deadline)["id"],
        open_round()["id"],
    )
    _let_the_deadline_pass(state, due)
    with state.database.read() as session:
        assert repository.due_round_ids(session, datetime.now(UTC)) == [due]


def test_a_due_round_that_was_closed_meanwhile_is_not_closed_again(
    open_round: OpenRound, state: AppState
) -> None:
    deadline = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    due = open_round(closes_at=deadline)["id"]
    _let_the_deadline_pass(state, due)
    with state.database.write() as session:
        row = repository.lock_due_round(session, due, datetime.now(UTC))
        assert row is not None
        lifecycle.close(session, row)
    with state.database.write() as session:
        assert repository.lock_due_round(session, due, datetime.now(UTC)) is None


LEGAL = {
    ("draft", "open"),
    ("draft", "cancelled"),
    ("open", "closed"),
    ("open", "cancelled"),
    ("closed", "running"),
    ("closed", "failed"),
    ("closed", "cancelled"),
    ("running", "settled"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("failed", "closed"),
}


def test_a_round_moves_only_along_legal_transitions(open_round: OpenRound, state: AppState) -> None:
    round_id = open_round()["id"]
    for start, end in product(get_args(RoundState), repeat=2):
        with state.database.write() as session:
            session.execute(update(RoundRow).values(state=start))
            row = session.get_one(RoundRow, round_id, populate_existing=True)
            if (start, end) in LEGAL:
                lifecycle.move(session, row, end)
                assert row.state == end
            else:
                with pytest.raises(Conflict, match=rf"is {start}; .* become {end}"):
                    lifecycle.move(session, row, end)


def test_an_illegal_transition_names_both_states_and_is_not_to_be_retried(
    operator: TestClient, open_round: OpenRound
) -> None:
    round_id = open_round()["id"]
    operator.post(f"/v1/rounds/{round_id}/cancel")
    refused = operator.post(f"/v1/rounds/{round_id}/close")
    assert refused.status_code == 409
    assert refused.headers["x-should-retry"] == "false"
    assert "cancelled" in refused.json()["detail"]
    assert "closed" in refused.json()["detail"]


def test_cancelling_a_closed_round_ends_its_job_too(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    round_id = open_round()["id"]
    _, group = make_group("teachers")
    group.put(f"/v1/rounds/{round_id}/report", json=report_body())
    job_id = operator.post(f"/v1/rounds/{round_id}/close").json()["job_id"]
    assert operator.post(f"/v1/rounds/{round_id}/cancel").json()["state"] == "cancelled"
    with state.database.read() as session:
        job = session.get_one(JobRow, job_id)
    assert job.cancel_requested or job.status == "cancelled"


def test_every_act_on_a_round_is_audited(
    operator: TestClient, open_round: OpenRound, state: AppState
) -> None:
    round_id = open_round()["id"]
    operator.post(f"/v1/rounds/{round_id}/close")
    with state.database.read() as session:
        actions = session.scalars(select(AuditRow.action).where(AuditRow.subject == round_id))
        assert sorted(actions) == ["round.closed", "round.created", "round.opened"]


def _let_the_deadline_pass(state: AppState, round_id: str) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    with state.database.write() as session:
        session.execute(update(RoundRow).where(RoundRow.id == round_id).values(closes_at=past))


def test_rounds_are_listed_by_state(operator: TestClient, open_round: OpenRound) -> None:
    kept, given_up = open_round()["id"], open_round()["id"]
    operator.post(f"/v1/rounds/{given_up}/cancel").raise_for_status()

    def listed(state: str) -> list[str]:
        page = operator.get("/v1/rounds", params={"state": state}).raise_for_status().json()
        return [round_["id"] for round_ in page["data"]]

    assert (listed("open"), listed("cancelled"), listed("settled")) == ([kept], [given_up], [])
    refused = operator.get("/v1/rounds", params={"state": "lost"})
    assert (refused.status_code, refused.json()["param"]) == (422, "state")
