"""The operator reads who did what; what groups do before a close is not in it."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, report_body, upload_jsonl


def _entries(operator: TestClient, **query: Any) -> list[dict[str, Any]]:
    answer = operator.get("/v1/audit-log", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


def test_the_log_says_who_did_what_newest_first(
    operator: TestClient, open_round: OpenRound
) -> None:
    round_id = open_round()["id"]
    entries = _entries(operator, subject=round_id)
    assert [entry["action"] for entry in entries] == ["round.opened", "round.created"]
    assert all(entry["actor"].startswith("operator/key_") for entry in entries)
    assert entries[0]["reason"] is None


def test_subject_and_action_narrow_the_log_and_its_pages_go_on(
    operator: TestClient, open_round: OpenRound
) -> None:
    rounds = [open_round()["id"] for _ in range(3)]
    opened = _entries(operator, action="round.opened")
    assert [entry["subject"] for entry in opened] == rounds[::-1]
    first = operator.get("/v1/audit-log", params={"action": "round.opened", "limit": 2}).json()
    assert first["has_more"]
    rest = _entries(operator, action="round.opened", after=first["last_id"])
    assert first["data"] + rest == opened
    assert _entries(operator, subject=rounds[0], action="round.created") == [
        entry for entry in _entries(operator, subject=rounds[0]) if entry not in opened
    ]
    assert _entries(operator, action="no.such") == []


@pytest.mark.parametrize("query", [{"subject": "rnd_x"}, {"action": "opened"}, {"action": "%"}])
def test_a_filter_that_can_match_nothing_is_refused(
    operator: TestClient, query: dict[str, str]
) -> None:
    refused = operator.get("/v1/audit-log", params=query)
    assert (refused.status_code, refused.json()["param"]) == (422, next(iter(query)))


def test_a_group_reads_no_log(make_group: MakeGroup) -> None:
    _, group = make_group("teachers")
    assert group.get("/v1/audit-log").status_code == 403


def test_what_groups_do_before_the_close_leaves_no_entry(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound
) -> None:
    round_id = open_round()["id"]
    _, group = make_group("teachers")
    before = _entries(operator, limit=100)
    url = f"/v1/rounds/{round_id}/report"
    file = upload_jsonl(group, "preferences", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    made = group.post("/v1/reward-models", json={"name": "a"} | _without_size()).json()
    group.post(f"/v1/jobs/{made['job_id']}/cancel").raise_for_status()
    group.post(f"/v1/jobs/{made['job_id']}/retry").raise_for_status()
    group.put(url, json=report_body()).raise_for_status()
    group.get(url).raise_for_status()
    group.delete(url).raise_for_status()
    group.put(url, json=report_body()).raise_for_status()
    assert group.delete(f"/v1/files/{file['id']}").status_code == 409
    assert _entries(operator, limit=100) == before


def _without_size() -> dict[str, Any]:
    return {"reward_model": report_body()["reward_model"]}


def test_a_round_unsealed_shows_why(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound
) -> None:
    round_id = open_round()["id"]
    _, group = make_group("teachers")
    group.put(f"/v1/rounds/{round_id}/report", json=report_body()).raise_for_status()
    operator.post(f"/v1/rounds/{round_id}/close").raise_for_status()
    asked = {"reason": "teachers dispute their invoice"}
    operator.post(f"/v1/rounds/{round_id}/reports/unseal", json=asked).raise_for_status()
    (entry,) = _entries(operator, action="reports.unsealed")
    assert (entry["subject"], entry["reason"]) == (round_id, asked["reason"])
