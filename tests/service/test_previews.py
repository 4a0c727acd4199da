"""Previews of reports: what their group sees, and that nobody else learns there is one."""

from typing import Any

import pytest
from fake_cluster import FakeCluster, job_row, running, status, until
from preview_scenes import preview, publish_next
from scenes import claim
from sqlalchemy import select
from starlette.testclient import TestClient
from support import (
    PAIRS,
    MakeGroup,
    OpenRound,
    count_rows,
    report_body,
    upload_jsonl,
)

from api_schemas.jobs import PreviewJobInput, stages_of
from service.dependencies import AppState
from service.settings import Settings
from service.tables import AuditRow, Base, IdempotencyRow, JobRow, PreviewRow
from workers.artifacts import ArtifactStore

KEY = {"Idempotency-Key": "6f1c2a"}
SECRET = "xylophone"


@pytest.fixture
def opened(open_round: OpenRound) -> dict[str, Any]:
    return open_round()


@pytest.fixture
def teachers(make_group: MakeGroup) -> TestClient:
    return make_group("teachers")[1]


def test_a_preview_waits_for_a_job_and_reports_nothing(
    teachers: TestClient, opened: dict[str, Any]
) -> None:
    made = preview(teachers, opened["id"])
    assert (made["status"], made["result"], made["round_id"]) == ("queued", None, opened["id"])
    assert teachers.get(f"/v1/report-previews/{made['id']}").json() == made
    job = teachers.get(f"/v1/jobs/{made['job_id']}").json()
    assert (job["kind"], job["preview_id"], job["round_id"]) == ("preview", made["id"], None)
    assert [stage["name"] for stage in job["stages"]] == list(stages_of("preview"))
    assert teachers.get(f"/v1/rounds/{opened['id']}/report").status_code == 404


def test_the_worker_gets_the_report_with_the_rounds_rules_and_a_key_of_its_own(
    teachers: TestClient, opened: dict[str, Any], state: AppState
) -> None:
    for word in ("please", "thanks"):
        preview(teachers, opened["id"], size=4, word=word)
    jobs = [publish_next(state).job for _ in range(2)]
    assert all(isinstance(job, PreviewJobInput) for job in jobs)
    assert [job.report.reward_model.features[0].words for job in jobs] == [["please"], ["thanks"]]
    assert jobs[0].report.size == 4
    assert jobs[0].announcement.model_dump(mode="json") == opened["announcement"]
    assert jobs[0].probe is not None
    assert jobs[0].result_key != jobs[1].result_key


def test_a_finished_preview_shows_what_was_found_and_lists_leave_it_out(
    teachers: TestClient, opened: dict[str, Any], state: AppState
) -> None:
    made = [preview(teachers, opened["id"], word=SECRET) for _ in range(2)]
    publish_next(state)
    done = teachers.get(f"/v1/report-previews/{made[0]['id']}").json()
    assert done["status"] == "succeeded"
    assert SECRET in done["result"]["warnings"][0], "as the scene's worker echoes it"
    assert done["result"]["probe"]["samples"] == 18
    listed = teachers.get(f"/v1/rounds/{opened['id']}/report/previews").json()["data"]
    assert listed == [made[1], done | {"result": None}]


def test_no_table_and_no_artifact_holds_a_word_of_a_preview(
    teachers: TestClient, opened: dict[str, Any], state: AppState
) -> None:
    url = f"/v1/rounds/{opened['id']}/report/preview"
    made = teachers.post(url, json=report_body(word=SECRET), headers=KEY).json()
    before = _everything(state)
    publish_next(state)
    assert SECRET in teachers.get(f"/v1/report-previews/{made['id']}").text
    for dumped in (before, _everything(state)):
        assert SECRET.encode() not in dumped
        assert b"keywords" not in dumped
        assert b"histogram" not in dumped


def test_a_key_that_comes_twice_gives_one_preview_and_its_record_no_digest_to_guess_by(
    teachers: TestClient, opened: dict[str, Any], state: AppState
) -> None:
    url = f"/v1/rounds/{opened['id']}/report/preview"
    first, again = (teachers.post(url, json=report_body(), headers=KEY) for _ in range(2))
    assert (again.status_code, again.json()) == (202, first.json())
    assert teachers.post(url, json=report_body(size=4), headers=KEY).status_code == 422
    assert count_rows(state, PreviewRow) == 1
    object.__setattr__(state, "key_secret", b"another secret of 32 characters!!")
    other = teachers.post(url, json=report_body(), headers=KEY)
    assert other.status_code == 401, "keys are HMACs by the same secret, as the digest is"
    with state.database.read() as session:
        recorded = session.scalars(select(IdempotencyRow)).one()
        assert recorded.body["result"] is None


def test_the_operator_and_other_groups_learn_nothing_of_a_preview(
    teachers: TestClient,
    operator: TestClient,
    make_group: MakeGroup,
    opened: dict[str, Any],
    state: AppState,
) -> None:
    others = [operator, make_group("pupils")[1]]
    lists = ("/v1/jobs", "/v1/rounds", f"/v1/rounds/{opened['id']}", "/v1/reward-models")
    before = [[other.get(path).json() for path in lists] for other in others]
    metrics = _metrics(operator)
    made = preview(teachers, opened["id"])
    own, job = f"/v1/report-previews/{made['id']}", f"/v1/jobs/{made['job_id']}"
    for finished in (False, True):
        if finished:
            publish_next(state)
        teachers.get(own)
        teachers.get(f"/v1/rounds/{opened['id']}/report/previews")
        assert _metrics(operator) == metrics
        assert [[other.get(path).json() for path in lists] for other in others] == before
        for other in others:
            for path in (job, f"{job}/events", f"{job}/events/stream"):
                assert other.get(path).status_code == 404
            assert other.post(f"{job}/cancel").status_code == 404
        assert [other.get(own).status_code for other in others] == [403, 404]
        assert [other.delete(own).status_code for other in others] == [403, 404]
        assert others[1].get(f"/v1/rounds/{opened['id']}/report/previews").json()["data"] == []
        metrics = _metrics(operator)
    with state.database.read() as session:
        assert made["id"] not in session.scalars(select(AuditRow.subject)).all()


def test_only_a_round_that_takes_reports_takes_previews(
    teachers: TestClient, operator: TestClient, opened: dict[str, Any], state: AppState
) -> None:
    url = f"/v1/rounds/{opened['id']}/report/preview"
    assert operator.post(url, json=report_body()).status_code == 403
    operator.post(f"/v1/rounds/{opened['id']}/cancel").raise_for_status()
    refused = teachers.post(url, json=report_body())
    assert (refused.status_code, refused.json()["code"]) == (409, "round_not_open")
    assert count_rows(state, PreviewRow) == 0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"size": 11}, "size"),
    ({"size": 0}, "size"),
    ({"reward_model": {"type": "lexical", "features": []}}, "reward_model.features"),
    ({"colour": "red"}, "colour"),
]


def test_what_could_not_be_reported_is_not_previewed(
    teachers: TestClient, opened: dict[str, Any], state: AppState
) -> None:
    url = f"/v1/rounds/{opened['id']}/report"
    for changes, param in WRONG:
        refused = teachers.post(f"{url}/preview", json=report_body() | changes)
        assert (refused.status_code, refused.json()["param"]) == (422, param), refused.text
        reported = teachers.put(url, json=report_body() | changes)
        assert reported.json() | {"request_id": ""} == refused.json() | {"request_id": ""}
    assert (count_rows(state, PreviewRow), count_rows(state, JobRow)) == (0, 0)


def test_previews_that_wait_count_as_rerankings_do(
    teachers: TestClient, opened: dict[str, Any], state: AppState
) -> None:
    settings = state.settings.model_copy(update={"quota_unfinished_jobs": 1})
    object.__setattr__(state, "settings", settings)
    preview(teachers, opened["id"])
    url = f"/v1/rounds/{opened['id']}/report/preview"
    refused = teachers.post(url, json=report_body())
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    publish_next(state)
    assert teachers.post(url, json=report_body()).status_code == 202


def test_a_deleted_preview_is_gone_with_its_result_and_its_job_finds_nothing(
    teachers: TestClient, opened: dict[str, Any], state: AppState
) -> None:
    made = preview(teachers, opened["id"])
    own = f"/v1/report-previews/{made['id']}"
    refused = teachers.delete(own)
    assert (refused.status_code, refused.json()["code"]) == (409, "preview_not_finished")
    teachers.post(f"/v1/jobs/{made['job_id']}/cancel").raise_for_status()
    assert teachers.delete(own).json()["deleted"] is True
    assert (teachers.get(own).status_code, teachers.delete(own).status_code) == (404, 404)
    teachers.post(f"/v1/jobs/{made['job_id']}/retry").raise_for_status()
    with pytest.raises(AssertionError):
        claim(state.database)
    assert job_row(state.database, made["job_id"]).error["code"] == "preview_deleted"  # type: ignore[index]


@pytest.mark.parametrize("harm", ["sealed", "exchanged"])
def test_a_preview_changed_behind_the_service_ends_its_job_by_name(
    teachers: TestClient, opened: dict[str, Any], state: AppState, harm: str
) -> None:
    made = [preview(teachers, opened["id"], word=word) for word in ("one", "two")]
    with state.database.write() as session:
        first, second = (session.get_one(PreviewRow, each["id"]) for each in made)
        changed = bytes(first.sealed[:-1]) + bytes([first.sealed[-1] ^ 1])
        first.sealed = second.sealed if harm == "exchanged" else changed
    publish_next(state)  # the other one
    assert job_row(state.database, made[0]["job_id"]).error["code"] == "damaged_seal"  # type: ignore[index]
    assert status(state.database, made[1]["job_id"]) == "succeeded"


def test_a_file_stays_while_a_preview_may_name_it(
    teachers: TestClient, opened: dict[str, Any], state: AppState
) -> None:
    file_id = upload_jsonl(teachers, "preferences", PAIRS)["id"]
    made = preview(teachers, opened["id"])
    refused = teachers.delete(f"/v1/files/{file_id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "file_in_use")
    assert made["id"] in refused.json()["detail"]
    publish_next(state)
    assert teachers.delete(f"/v1/files/{file_id}").status_code == 200


def test_a_coordinator_makes_a_preview_and_the_stages_artifact_is_sealed(
    teachers: TestClient, opened: dict[str, Any], quick: Settings, cluster: FakeCluster, state: Any
) -> None:
    made = preview(teachers, opened["id"], word=SECRET)
    with running(quick, cluster):
        until(lambda: status(state.database, made["job_id"]) == "succeeded")
    assert cluster.ran == ["preview"]
    assert SECRET in teachers.get(f"/v1/report-previews/{made['id']}").text
    assert SECRET.encode() not in _everything(state)


def _everything(state: AppState) -> bytes:
    """All rows of all tables, as they lie there, and all artifacts."""
    dumped = []
    with state.database.read() as session:
        for table in Base.metadata.sorted_tables:
            rows = session.connection().exec_driver_sql(f"SELECT * FROM {table.name}")
            dumped += [repr(tuple(map(_plain, row))).encode() for row in rows]
    store: ArtifactStore = state.artifacts
    dumped += [store.get(blob.digest) for blob in store.blobs()]
    assert dumped
    return b"\n".join(dumped)


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _metrics(client: TestClient) -> list[str]:
    """What tells of previews or reports: this test itself asks for lists, which are counted."""
    lines = client.get("/metrics").text.splitlines()
    return [line for line in lines if "preview" in line or "report" in line]
