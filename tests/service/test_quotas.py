"""How much one owner may have, and how it gets room again."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from reward_model_scenes import publish_next
from sqlalchemy import update
from starlette.testclient import TestClient
from support import PAIRS, MakeGroup, OpenRound, count_rows, report_body, upload_jsonl

from service.dependencies import AppState
from service.tables import FileRow, RoundRow

LimitTo = Callable[..., None]
SIZE = len(b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n')


@pytest.fixture
def limit_to(app: FastAPI, client: TestClient) -> LimitTo:
    """Other quotas for the running application."""

    def limit(**quotas: int) -> None:
        state: AppState = app.state.truthtune
        object.__setattr__(state, "settings", state.settings.model_copy(update=quotas))

    return limit


def _upload(client: TestClient) -> Any:
    data = b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n'
    return client.post(
        "/v1/files", data={"purpose": "preferences"}, files={"file": ("p.jsonl", data)}
    )


def _assert_refused(answer: Any, *said: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded"), answer.text
    assert "Retry-After" not in answer.headers
    assert answer.headers["x-should-retry"] == "false"
    for part in said:
        assert part in answer.json()["detail"]


def test_files_beyond_the_bytes_are_refused_with_what_is_used_and_allowed(
    make_group: MakeGroup, limit_to: LimitTo
) -> None:
    _, group = make_group("teachers")
    _, other = make_group("pupils")
    limit_to(quota_file_bytes=2 * SIZE)
    assert [_upload(group).status_code for _ in range(2)] == [201, 201]
    _assert_refused(_upload(group), str(2 * SIZE), str(3 * SIZE), "TRUTHTUNE_QUOTA_FILE_BYTES")
    assert _upload(other).status_code == 201


def test_a_deleted_file_makes_room_for_another(make_group: MakeGroup, limit_to: LimitTo) -> None:
    _, group = make_group("teachers")
    limit_to(quota_files=1)
    file_id = _upload(group).json()["id"]
    _assert_refused(_upload(group), "1 files", "TRUTHTUNE_QUOTA_FILES")
    deleted = group.delete(f"/v1/files/{file_id}")
    assert deleted.json() == {"object": "file.deleted", "id": file_id, "deleted": True}
    assert group.get(f"/v1/files/{file_id}").status_code == 404
    assert _upload(group).status_code == 201


def test_uploads_at_once_do_not_pass_the_quota_together(
    make_group: MakeGroup, limit_to: LimitTo, state: AppState
) -> None:
    _, group = make_group("teachers")
    limit_to(quota_files=3)
    with ThreadPoolExecutor(8) as threads:
        statuses = [done.status_code for done in threads.map(lambda _: _upload(group), range(8))]
    assert sorted(statuses) == [201] * 3 + [429] * 5
    assert count_rows(state, FileRow) == 3


def test_a_replayed_upload_needs_no_room(make_group: MakeGroup, limit_to: LimitTo) -> None:
    _, group = make_group("teachers")
    limit_to(quota_files=1)
    group.headers["Idempotency-Key"] = "once"
    assert _upload(group).json() == _upload(group).json()


def test_unfinished_jobs_have_a_quota_and_finished_ones_none(
    make_group: MakeGroup, limit_to: LimitTo, state: AppState
) -> None:
    _, group = make_group("teachers")
    limit_to(quota_unfinished_jobs=2)
    file = upload_jsonl(group, "preferences", PAIRS)
    fitted = {"type": "preference_data", "file_id": file["id"]}
    body = {"name": "a", "reward_model": fitted | {"method": {"name": "tfidf_bradley_terry"}}}
    made = [group.post("/v1/reward-models", json=body) for _ in range(3)]
    assert [answer.status_code for answer in made[:2]] == [201, 201]
    _assert_refused(made[2], "2 of your", "TRUTHTUNE_QUOTA_UNFINISHED_JOBS")
    job_id = made[0].json()["job_id"]
    assert group.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    assert group.post("/v1/reward-models", json=body).status_code == 201
    _assert_refused(group.post(f"/v1/jobs/{job_id}/retry"), "2 of your")


def test_live_keys_have_a_quota(
    operator: TestClient, make_group: MakeGroup, limit_to: LimitTo
) -> None:
    group_id, _ = make_group("teachers")  # with one key
    limit_to(quota_keys=2)
    body = {"group_id": group_id}
    second = operator.post("/v1/keys", json=body).json()
    _assert_refused(operator.post("/v1/keys", json=body), group_id, "2 live keys")
    operator.delete(f"/v1/keys/{second['id']}")
    assert operator.post("/v1/keys", json=body).status_code == 201


def test_a_file_stays_while_its_owner_has_a_report_that_may_name_it(
    make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    _, group = make_group("teachers")
    file_id = _upload(group).json()["id"]
    round_id = open_round()["id"]
    report = f"/v1/rounds/{round_id}/report"
    group.put(report, json=report_body())
    refused = group.delete(f"/v1/files/{file_id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "file_in_use")
    assert round_id in refused.json()["detail"]
    group.delete(report)
    assert group.delete(f"/v1/files/{file_id}").status_code == 200


@pytest.mark.parametrize("round_state", ["settled", "cancelled"])
def test_a_round_that_is_over_needs_no_file(
    make_group: MakeGroup, open_round: OpenRound, state: AppState, round_state: str
) -> None:
    _, group = make_group("teachers")
    file_id = _upload(group).json()["id"]
    round_id = open_round()["id"]
    group.put(f"/v1/rounds/{round_id}/report", json=report_body())
    with state.database.write() as session:
        session.execute(update(RoundRow).where(RoundRow.id == round_id).values(state=round_state))
    assert group.delete(f"/v1/files/{file_id}").status_code == 200


def test_the_prompts_of_a_round_stay(operator: TestClient, open_round: OpenRound) -> None:
    announced = open_round()
    file_id = announced["announcement"]["prompts_file_id"]
    refused = operator.delete(f"/v1/files/{file_id}")
    assert refused.status_code == 409
    assert announced["id"] in refused.json()["detail"]


def test_a_file_stays_until_the_reward_model_is_made_from_it(
    make_group: MakeGroup, state: AppState
) -> None:
    _, group = make_group("teachers")
    file = upload_jsonl(group, "preferences", PAIRS)
    fitted = {"type": "preference_data", "file_id": file["id"]}
    body = {"name": "a", "reward_model": fitted | {"method": {"name": "tfidf_bradley_terry"}}}
    made = group.post("/v1/reward-models", json=body).json()
    refused = group.delete(f"/v1/files/{file['id']}")
    assert refused.status_code == 409
    assert made["id"] in refused.json()["detail"]
    publish_next(state)
    assert group.delete(f"/v1/files/{file['id']}").status_code == 200


def test_nobody_deletes_anothers_file(operator: TestClient, make_group: MakeGroup) -> None:
    _, group = make_group("teachers")
    file_id = _upload(group).json()["id"]
    unknown = operator.delete(f"/v1/files/file_{'0' * 26}")
    assert operator.delete(f"/v1/files/{file_id}").status_code == unknown.status_code == 404
    assert group.get(f"/v1/files/{file_id}").status_code == 200
