"""Jobs over HTTP: who sees what of them, cancelling, and trying again."""

import pytest
from scenes import DIGEST, claim, queue_job
from starlette.testclient import TestClient
from support import MakeGroup

from api_schemas.jobs import STAGES
from service.dependencies import AppState
from service.jobs import leases
from service.tables import JobRow, RoundRow


@pytest.fixture
def job_id(state: AppState) -> str:
    """A queued job of a closed round with three reports."""
    return queue_job(state.database)


def test_a_queued_job_shows_every_stage_as_pending(operator: TestClient, job_id: str) -> None:
    job = operator.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["attempts"], job["started_at"]) == ("queued", 0, None)
    assert [stage["name"] for stage in job["stages"]] == list(STAGES)
    assert {stage["status"] for stage in job["stages"]} == {"pending"}
    assert operator.get("/v1/jobs").json()["data"] == [job]


def test_a_job_shows_how_far_its_stages_are(
    operator: TestClient, state: AppState, job_id: str
) -> None:
    _run_one_stage(state)
    first, second, third = operator.get(f"/v1/jobs/{job_id}").json()["stages"][:3]
    assert (first["status"], first["digest"]) == ("done", DIGEST)
    assert first["seconds"] >= 0
    assert (second["status"], second["seconds"], second["digest"]) == ("running", None, None)
    assert third["status"] == "pending"


def test_a_group_never_sees_the_digest_of_a_stage(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    """A digest lets whoever has it test guesses of what others reported, settled or not."""
    member_id, member = make_group("teachers")
    job_id = queue_job(state.database, [member_id])
    _run_one_stage(state)
    for status in ("running", "failed", "succeeded"):
        with state.database.write() as session:
            session.get_one(JobRow, job_id).status = status
        assert "sha256:" in operator.get(f"/v1/jobs/{job_id}").text
        assert "sha256:" not in member.get(f"/v1/jobs/{job_id}").text
        assert "sha256:" not in member.get("/v1/jobs").text


def test_the_job_of_a_round_that_a_group_cannot_see_is_hidden_from_it(
    make_group: MakeGroup, state: AppState, job_id: str
) -> None:
    _, group = make_group("teachers")
    assert group.get(f"/v1/jobs/{job_id}").status_code == 200
    with state.database.write() as session:
        session.get_one(RoundRow, session.get_one(JobRow, job_id).round_id).opened_at = None
    assert group.get("/v1/jobs").json()["data"] == []
    for path in ("", "/events", "/events/stream"):
        assert group.get(f"/v1/jobs/{job_id}{path}").status_code == 404


def test_a_group_may_neither_cancel_nor_retry(make_group: MakeGroup, job_id: str) -> None:
    _, group = make_group("teachers")
    for act in ("cancel", "retry"):
        assert group.post(f"/v1/jobs/{job_id}/{act}").status_code == 403


def test_cancelling_a_waiting_job_fails_its_round_with_the_reason(
    operator: TestClient, job_id: str
) -> None:
    job = operator.post(f"/v1/jobs/{job_id}/cancel").json()
    assert (job["status"], job["cancel_requested"]) == ("cancelled", True)
    assert job["finished_at"] is not None
    round_ = operator.get(f"/v1/rounds/{job['round_id']}").json()
    assert (round_["state"], round_["failure"]["code"]) == ("failed", "job_cancelled")


def test_cancelling_a_running_job_waits_for_its_coordinator(
    operator: TestClient, state: AppState, job_id: str
) -> None:
    held = claim(state.database)
    job = operator.post(f"/v1/jobs/{job_id}/cancel").json()
    assert (job["status"], job["cancel_requested"]) == ("running", True)
    with state.database.write() as session:
        leases.cancel(session, held)
    assert operator.get(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
    round_ = operator.get(f"/v1/rounds/{job['round_id']}").json()
    assert (round_["state"], round_["failure"]["code"]) == ("failed", "job_cancelled")


def test_a_finished_job_cannot_be_cancelled(operator: TestClient, job_id: str) -> None:
    operator.post(f"/v1/jobs/{job_id}/cancel")
    refused = operator.post(f"/v1/jobs/{job_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_finished")


def test_a_retry_keeps_the_finished_stages_and_gives_new_attempts(
    operator: TestClient, state: AppState, job_id: str
) -> None:
    held = _run_one_stage(state)
    operator.post(f"/v1/jobs/{job_id}/cancel")
    with state.database.write() as session:
        leases.cancel(session, held)
    retried = operator.post(f"/v1/jobs/{job_id}/retry")
    assert retried.status_code == 200
    job = retried.json()
    assert (job["status"], job["attempts"], job["cancel_requested"]) == ("queued", 0, False)
    assert (job["error"], job["finished_at"]) == (None, None)
    assert [stage["status"] for stage in job["stages"][:2]] == ["done", "pending"]
    round_ = operator.get(f"/v1/rounds/{job['round_id']}").json()
    assert (round_["state"], round_["failure"]) == ("closed", None)
    again = claim(state.database, "second")
    assert (again.job_id, again.digests) == (job_id, {"fit_rewards": DIGEST})
    assert again.token > held.token


def test_only_a_failed_or_cancelled_job_can_be_retried(operator: TestClient, job_id: str) -> None:
    refused = operator.post(f"/v1/jobs/{job_id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_not_retryable")
    assert operator.get(f"/v1/jobs/{job_id}").json()["status"] == "queued"


def test_the_job_of_a_cancelled_round_cannot_be_retried(operator: TestClient, job_id: str) -> None:
    round_id = operator.get(f"/v1/jobs/{job_id}").json()["round_id"]
    operator.post(f"/v1/rounds/{round_id}/cancel")
    refused = operator.post(f"/v1/jobs/{job_id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")
    assert operator.get(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"


def test_an_unknown_job_is_not_found(operator: TestClient) -> None:
    unknown = "/v1/jobs/job_" + "0" * 26
    for path in ("", "/events", "/events/stream"):
        assert operator.get(unknown + path).status_code == 404
    for act in ("/cancel", "/retry"):
        assert operator.post(unknown + act).status_code == 404


def _run_one_stage(state: AppState) -> leases.Claim:
    """The first stage is done, the second has begun."""
    held = claim(state.database)
    with state.database.write() as session:
        leases.start_stage(session, held, "fit_rewards")
        leases.finish_stage(session, held, "fit_rewards", DIGEST)
        leases.start_stage(session, held, "sample_pool")
    return held
