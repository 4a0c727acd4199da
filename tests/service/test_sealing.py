"""Until a round closes, a report shows itself to its author and to nobody else, by no route."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from support import PAIRS, MakeGroup, OpenRound, report_body, upload_jsonl

PREFIXES = {
    "audit_id": "aud",
    "base_model_id": "bm",
    "corpus_id": "corp",
    "evaluation_id": "evl",
    "file_id": "file",
    "group_id": "grp",
    "invoice_id": "inv",
    "job_id": "job",
    "key_id": "key",
    "model_id": "mdl",
    "preview_id": "prv",
    "quote_id": "quo",
    "receipt_id": "rcpt",
    "reranking_id": "rrk",
    "reward_model_id": "rm",
    "webhook_endpoint_id": "whe",
}


# Of the one request, and of how many its own key has sent.
OF_ONE = ("x-request-id", "ratelimit")


@pytest.fixture
def opened(open_round: OpenRound) -> dict[str, Any]:
    return open_round(closes_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())


def test_no_route_answers_otherwise_once_another_has_reported(
    app: FastAPI, operator: TestClient, make_group: MakeGroup, opened: dict[str, Any]
) -> None:
    _, teachers = make_group("teachers")
    _, pupils = make_group("pupils")
    before = [_all_answers(app, client, opened["id"]) for client in (operator, pupils)]
    reports = _report_in_every_way(teachers, opened["id"])
    assert [_all_answers(app, client, opened["id"]) for client in (operator, pupils)] == before
    assert all(report["id"] not in str(before) for report in reports)


def test_the_metrics_count_neither_reports_nor_the_uploads_for_them(
    operator: TestClient, make_group: MakeGroup, opened: dict[str, Any]
) -> None:
    _, teachers = make_group("teachers")
    before = _counts(operator)
    _report_in_every_way(teachers, opened["id"])
    assert _counts(operator) == before


@pytest.mark.parametrize("act", ["open", "close", "audits"])
def test_what_the_operator_may_not_do_is_refused_alike_with_and_without_reports(
    operator: TestClient, make_group: MakeGroup, opened: dict[str, Any], act: str
) -> None:
    url = f"/v1/rounds/{opened['id']}/{act}"
    before = operator.post(url, json={})
    assert before.status_code == 409
    _, teachers = make_group("teachers")
    _report_in_every_way(teachers, opened["id"])
    assert _timeless(operator.post(url, json={}).json()) == _timeless(before.json())


def test_a_cancelled_round_never_tells_whether_it_had_reports(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound
) -> None:
    _, teachers = make_group("teachers")
    cancelled = []
    for reports in (False, True):
        round_id = open_round()["id"]
        if reports:
            _report_in_every_way(teachers, round_id)
        cancelled.append(operator.post(f"/v1/rounds/{round_id}/cancel").json())
    without, with_reports = cancelled
    assert without["state"] == "cancelled"
    assert with_reports["job_id"] is None
    changing = {"id", "created_at", "opened_at", "announcement", "announcement_digest"}
    for name in set(without) - changing:
        assert without[name] == with_reports[name], name


def test_a_report_replaced_keeps_its_id_and_a_withdrawn_one_leaves_no_trace(
    make_group: MakeGroup, opened: dict[str, Any]
) -> None:
    _, teachers = make_group("teachers")
    url = f"/v1/rounds/{opened['id']}/report"
    never_there = teachers.get(url)
    first = teachers.put(url, json=report_body()).json()
    assert teachers.put(url, json=report_body(size=4)).json()["id"] == first["id"]
    teachers.delete(url)
    gone = teachers.get(url)
    assert gone.status_code == never_there.status_code == 404
    assert gone.json()["detail"] == never_there.json()["detail"]


def _report_in_every_way(group: TestClient, round_id: str) -> list[dict[str, Any]]:
    """A preference file's report, with a reward model made ahead, then a lexical one."""
    url = f"/v1/rounds/{round_id}/report"
    file = upload_jsonl(group, "preferences", PAIRS)
    fitted = {
        "type": "preference_data",
        "file_id": file["id"],
        "method": {"name": "tfidf_bradley_terry"},
    }
    made = group.post("/v1/reward-models", json={"name": "Spring", "reward_model": fitted}).json()
    trained = {"type": "trained", "reward_model_id": made["id"]}
    assert group.put(url, json={"size": 2, "reward_model": trained}).status_code == 409
    assert group.post(f"{url}/preview", json=report_body()).status_code == 202
    answers = [
        group.put(url, json={"size": 2, "reward_model": fitted}),
        group.put(url, json=report_body()),
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    return [answer.json() for answer in answers]


def _all_answers(app: FastAPI, client: TestClient, round_id: str) -> dict[str, Any]:
    """What every GET route says of this round; ids of other kinds are ones that nobody has."""
    answers = {}
    for path, operations in app.openapi()["paths"].items():
        if "get" not in operations or path == "/metrics":
            continue
        url = path.replace("{round_id}", round_id).replace("{name}", "name").replace("{step}", "1")
        url = re.sub(r"\{(\w+)\}", lambda found: f"{PREFIXES[found[1]]}_{'0' * 26}", url)
        answer = client.get(url)
        headers = {name: value for name, value in answer.headers.items() if name not in OF_ONE}
        answers[path] = (answer.status_code, headers, _timeless(answer.json()))
    return answers


def _timeless(body: dict[str, Any]) -> dict[str, Any]:
    """A body without the id of its request and, in an error's text, without the time of day."""
    kept = {name: value for name, value in body.items() if name != "request_id"}
    if "detail" in kept:
        kept["detail"] = re.sub(r"now is [\dT:+-]+", "now", kept["detail"])
    return kept


def _counts(client: TestClient) -> list[str]:
    """The lines of the metrics but for those of the metrics' own route."""
    return [line for line in client.get("/metrics").text.splitlines() if "/metrics" not in line]
