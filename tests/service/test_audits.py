"""Audits over HTTP: who may ask for one, of which rounds, and what is found in the end."""

import hashlib
from typing import Any

import pytest
from fake_cluster import job_row
from scenes import DIGEST, PLOT, claim, publish, queue_job, settle_next, settled_round
from sqlalchemy import select
from starlette.testclient import TestClient
from support import MakeGroup, count_rows

from api_schemas.jobs import RoundJob, stages_of
from service.dependencies import AppState
from service.jobs import leases
from service.tables import AuditRow, IncentiveAuditRow, JobRow, RoundRow

KEY = {"Idempotency-Key": "6f1c2a"}
ONE = {"alphas": [2.0], "sharpen_betas": [], "oppose_betas": [], "spike": False}


@pytest.fixture
def round_id(state: AppState) -> str:
    """A settled round of three groups."""
    return settled_round(state)


def test_an_audit_waits_for_a_job_of_its_own_and_the_round_stays_as_it_is(
    operator: TestClient, state: AppState, round_id: str
) -> None:
    before = operator.get(f"/v1/rounds/{round_id}").json()
    created = operator.post(f"/v1/rounds/{round_id}/audits", json=ONE)
    assert created.status_code == 201
    audit = created.json()
    assert (audit["result"], audit["result_digest"], audit["plot_digest"]) == (None, None, None)
    assert audit["settings"]["alphas"] == [2.0]
    assert audit["payment_rule"] == "affine_maximizer"
    assert operator.get(f"/v1/audits/{audit['id']}").json() == audit
    job = operator.get(f"/v1/jobs/{audit['job_id']}").json()
    assert (job["kind"], job["audit_id"], job["status"]) == ("audit", audit["id"], "queued")
    assert [stage["name"] for stage in job["stages"]] == list(stages_of("audit"))
    assert operator.get(f"/v1/rounds/{round_id}").json() == before
    own = operator.get(f"/v1/jobs/{before['job_id']}").json()
    assert (own["kind"], own["audit_id"], own["status"]) == ("round", None, "succeeded")
    events = operator.get(f"/v1/jobs/{audit['job_id']}/events").json()["data"]
    assert [event["message"] for event in events] == ["the operator asked for an audit"]
    with state.database.read() as session:
        actions = session.scalars(select(AuditRow.action).where(AuditRow.subject == audit["id"]))
        assert actions.all() == ["audit.created", "audit.read"]


def test_an_audits_job_has_the_rounds_input_and_what_its_stages_left(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    held = claim(state.database)
    with state.database.write() as session:
        for stage in ("fit_rewards", "train"):
            leases.start_stage(session, held, stage)
            leases.finish_stage(session, held, stage, DIGEST)
        leases.release(session, held, 0, counts=False)
    held = settle_next(state)
    created = operator.post(f"/v1/rounds/{held.job.round_id}/audits", json=ONE).json()
    job = RoundJob.model_validate(job_row(state.database, created["job_id"]).input)
    assert job.audit is not None
    assert job.audit.audit_id == created["id"]
    assert job.audit.round_stages == {"fit_rewards": DIGEST, "train": DIGEST}
    own = held.round_job.model_dump(exclude={"reports"})
    assert job.model_copy(update={"audit": None}).model_dump() == own


def test_a_round_can_be_audited_more_than_once(operator: TestClient, round_id: str) -> None:
    url = f"/v1/rounds/{round_id}/audits"
    made = [operator.post(url, json=ONE).json()["id"] for _ in range(3)]
    first = operator.get(url, params={"limit": 2}).json()
    assert [audit["id"] for audit in first["data"]] == made[:0:-1]
    rest = operator.get(url, params={"after": first["last_id"]}).json()
    assert [audit["id"] for audit in rest["data"]] == made[:1]
    assert (first["has_more"], rest["has_more"]) == (True, False)


def test_an_audit_asked_for_twice_under_one_key_is_one_audit(
    operator: TestClient, state: AppState, round_id: str
) -> None:
    url = f"/v1/rounds/{round_id}/audits"
    first = operator.post(url, json=ONE, headers=KEY)
    again = operator.post(url, json=ONE, headers=KEY)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert operator.post(url, json={}, headers=KEY).status_code == 422
    assert count_rows(state, IncentiveAuditRow) == 1


@pytest.mark.parametrize(
    "round_state", ["draft", "open", "closed", "running", "failed", "cancelled"]
)
def test_only_a_settled_round_can_be_audited(
    operator: TestClient, state: AppState, round_id: str, round_state: str
) -> None:
    with state.database.write() as session:
        session.get_one(RoundRow, round_id).state = round_state
    refused = operator.post(f"/v1/rounds/{round_id}/audits", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_settled")
    assert f"is {round_state};" in refused.json()["detail"]
    assert refused.headers["x-should-retry"] == "false"
    assert count_rows(state, IncentiveAuditRow) == 0
    assert count_rows(state, JobRow) == 1


STRANGER = "grp_" + "0" * 26
RETRAIN = {"group_id": STRANGER, "strategy": "inflate", "parameter": 2.0}


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"group_ids": [STRANGER]}, "group_ids[0]", f"group {STRANGER} has no report"),
        ({"retrain": [RETRAIN]}, "retrain[0].group_id", f"group {STRANGER} has no report"),
        ({"group_ids": []}, "group_ids", "at least 1 item"),
        ({"group_ids": ["teachers"]}, "group_ids[0]", "'teachers'"),
        ({"group_ids": [STRANGER] * 2}, None, "group_ids names a group twice"),
        ({"alphas": [0]}, "alphas[0]", "greater than 0, not 0"),
        ({"alphas": [1e7]}, "alphas[0]", "less than or equal to 1000000"),
        ({"alphas": [1.0] * 201}, "alphas", "at most 200"),
        ({"alphas": "many"}, "alphas", "'many'"),
        (ONE | {"alphas": []}, None, "spike is false"),
        ({"retrain": [RETRAIN] * 17}, "retrain", "at most 16"),
        ({"retrain": [RETRAIN | {"strategy": "lie"}]}, "retrain[0].strategy", "'lie'"),
        ({"retrain": [RETRAIN | {"parameter": 0.5}]}, "retrain[0]", "0.5 of 'inflate'"),
        ({"retrain": [RETRAIN | {"strategy": "spike"}]}, "retrain[0]", "2 of 'spike'"),
        ({"colour": "red"}, "colour", "colour"),
        ([], None, "the request"),
    ],
)
def test_what_cannot_be_audited_is_named(
    operator: TestClient,
    state: AppState,
    round_id: str,
    body: Any,
    param: str | None,
    words: str,
) -> None:
    refused = operator.post(f"/v1/rounds/{round_id}/audits", json=body)
    assert (refused.status_code, refused.json()["param"]) == (422, param), refused.text
    assert words in refused.json()["detail"]
    assert count_rows(state, IncentiveAuditRow) == 0


def test_an_excluded_group_cannot_be_audited_and_the_reason_is_told(
    operator: TestClient, state: AppState, make_group: MakeGroup
) -> None:
    excluded, _ = make_group("pupils")
    queue_job(state.database, sorted([excluded, make_group("teachers")[0]]))
    held = settle_next(state, excluded={excluded: "sample 3 has no score"})
    url = f"/v1/rounds/{held.job.round_id}/audits"
    refused = operator.post(url, json={"group_ids": [excluded]})
    assert (refused.status_code, refused.json()["param"]) == (422, "group_ids[0]")
    assert "was excluded: sample 3 has no score" in refused.json()["detail"]
    assert operator.post(url, json={}).status_code == 201


def test_more_replays_than_one_audit_may_have_are_refused_with_their_number(
    operator: TestClient, state: AppState, round_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.audits.requesting.MAX_REPLAYS", 9)
    url, four = f"/v1/rounds/{round_id}/audits", ONE | {"alphas": [2.0, 3.0, 4.0, 5.0]}
    refused = operator.post(url, json=four)
    assert (refused.status_code, refused.json()["param"]) == (422, "group_ids")
    assert "3 groups × 4 misreports are 12 replays, beyond the 9" in refused.json()["detail"]
    two = [group["group_id"] for group in _outcome(operator, round_id)["groups"]][:2]
    assert operator.post(url, json=four | {"group_ids": two}).status_code == 201


def test_a_finished_audit_has_its_result_and_lists_leave_it_out(
    operator: TestClient, state: AppState, round_id: str
) -> None:
    audit_id = operator.post(f"/v1/rounds/{round_id}/audits", json=ONE).json()["id"]
    found = publish(state, claim(state.database))
    audit = operator.get(f"/v1/audits/{audit_id}").json()
    assert audit["result"] == found.result.model_dump(mode="json")
    stored = state.artifacts.get_json(audit["result_digest"])
    assert stored == audit["result"]
    (listed,) = operator.get(f"/v1/rounds/{round_id}/audits").json()["data"]
    assert listed == audit | {"result": None}
    job = operator.get(f"/v1/jobs/{audit['job_id']}").json()
    assert (job["status"], job["stages"][-1]["digest"]) == ("succeeded", audit["result_digest"])


def test_the_plot_is_an_image_in_which_nothing_runs(
    operator: TestClient, state: AppState, round_id: str
) -> None:
    audit_id = operator.post(f"/v1/rounds/{round_id}/audits", json=ONE).json()["id"]
    url = f"/v1/audits/{audit_id}/plot.svg"
    refused = operator.get(url)
    assert (refused.status_code, refused.json()["code"]) == (409, "audit_not_finished")
    assert "is queued" in refused.json()["detail"]
    publish(state, claim(state.database))
    got = operator.get(url)
    assert (got.status_code, got.content) == (200, PLOT)
    assert got.headers["Content-Type"] == "image/svg+xml"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert got.headers["Content-Security-Policy"] == policy
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    etag = f'"sha256:{hashlib.sha256(PLOT).hexdigest()}"'
    assert got.headers["ETag"] == etag
    assert operator.get(url, headers={"If-None-Match": etag}).status_code == 304
    part = operator.get(url, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, PLOT[:4])


def test_a_group_learns_nothing_of_an_audit(
    operator: TestClient, state: AppState, make_group: MakeGroup
) -> None:
    member_id, member = make_group("teachers")
    round_id = settled_round(state, [member_id])
    seen = {path: member.get(path).json() for path in ("/v1/jobs", f"/v1/rounds/{round_id}")}
    audit = operator.post(f"/v1/rounds/{round_id}/audits", json=ONE).json()
    for finished in (False, True):
        if finished:
            publish(state, claim(state.database))
        for path, before in seen.items():
            assert member.get(path).json() == before
        job = f"/v1/jobs/{audit['job_id']}"
        for path in (job, f"{job}/events", f"{job}/events/stream"):
            assert member.get(path).status_code == 404
        after = member.get("/v1/jobs", params={"after": audit["job_id"]})
        assert after.status_code == 422
        for path in (f"/v1/audits/{audit['id']}", f"/v1/audits/{audit['id']}/plot.svg"):
            assert member.get(path).status_code == 403
        assert member.get(f"/v1/rounds/{round_id}/audits").status_code == 403
        assert member.post(f"/v1/rounds/{round_id}/audits", json={}).status_code == 403


def test_an_unknown_audit_or_round_is_not_found(operator: TestClient) -> None:
    unknown = "/v1/audits/aud_" + "0" * 26
    assert operator.get(unknown).status_code == 404
    assert operator.get(f"{unknown}/plot.svg").status_code == 404
    audits = "/v1/rounds/rnd_" + "0" * 26 + "/audits"
    assert operator.get(audits).status_code == 404
    assert operator.post(audits, json={}).status_code == 404


def _outcome(operator: TestClient, round_id: str) -> dict[str, Any]:
    return dict(operator.get(f"/v1/rounds/{round_id}/outcome").json())
