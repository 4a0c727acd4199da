"""Reports: a group's own, replaceable until the deadline, refused after it."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scenes import OPERATOR
from sqlalchemy import func, select, update
from starlette.testclient import TestClient
from support import (
    VAULT,
    MakeGroup,
    OpenRound,
    UploadPrompts,
    report_body,
    round_body,
    upload_jsonl,
)

from service.database import database_now
from service.dependencies import AppState
from service.reports.repository import job_inputs
from service.rounds import lifecycle
from service.rounds import repository as rounds
from service.tables import JobRow, ReportRow, RoundRow


def test_a_report_is_probed_and_shown_to_its_group(
    make_group: MakeGroup, open_round: OpenRound
) -> None:
    group_id, group = make_group("teachers")
    url = _url(open_round())
    put = group.put(url, json=report_body(size=3, word="sorry"))
    assert put.status_code == 200
    report = put.json()
    assert (report["group_id"], report["size"]) == (group_id, 3)
    # One of the fixed responses says sorry, the others don't: keyword share 1 and 0.
    assert (report["probe"]["minimum"], report["probe"]["maximum"]) == (0.0, 1.0)
    assert report["probe"]["samples"] == 18  # 3 prompts × 6 responses
    assert group.get(url).json() == report


def test_the_last_report_counts_and_has_its_own_commitment(
    make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    _, group = make_group("teachers")
    url = _url(open_round())
    first = group.put(url, json=report_body(size=3)).json()
    second = group.put(url, json=report_body(size=4)).json()
    assert first["commitment"] != second["commitment"]
    assert group.get(url).json() == second
    again = group.put(url, json=report_body(size=3)).json()
    assert again["commitment"] != first["commitment"], "the salt is new, so equals can't be told"
    assert _count(state) == 1


def test_a_withdrawn_report_is_gone(make_group: MakeGroup, open_round: OpenRound) -> None:
    _, group = make_group("teachers")
    url = _url(open_round())
    group.put(url, json=report_body())
    assert group.delete(url).json()["deleted"] is True
    assert group.get(url).status_code == 404
    assert group.delete(url).status_code == 404


def test_a_group_sees_no_report_but_its_own(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound
) -> None:
    _, teachers = make_group("teachers")
    _, pupils = make_group("pupils")
    url = _url(open_round())
    teachers.put(url, json=report_body())
    assert pupils.get(url).status_code == 404
    assert pupils.delete(url).status_code == 404
    assert operator.get(url).status_code == 403
    assert teachers.get(url).status_code == 200


def test_a_round_tells_nothing_of_its_reports(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound
) -> None:
    opened = open_round()
    _, group = make_group("teachers")
    group.put(_url(opened), json=report_body())
    assert operator.get(f"/v1/rounds/{opened['id']}").json() == opened
    assert "/report" not in operator.get("/metrics").text


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_report_after_the_close_is_refused_with_409(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound, method: str
) -> None:
    opened = open_round()
    _, group = make_group("teachers")
    kept = group.put(_url(opened), json=report_body()).json()
    operator.post(f"/v1/rounds/{opened['id']}/close")
    body = report_body(size=9) if method == "PUT" else None
    refused = group.request(method, _url(opened), json=body)
    assert refused.status_code == 409
    assert refused.headers["x-should-retry"] == "false"
    assert refused.json()["code"] == "round_not_open"
    assert group.get(_url(opened)).json() == kept


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_report_after_the_deadline_is_refused_before_anyone_closes_the_round(
    make_group: MakeGroup, open_round: OpenRound, state: AppState, method: str
) -> None:
    deadline = datetime.now(UTC) + timedelta(hours=1)
    opened = open_round(closes_at=deadline.isoformat())
    _, group = make_group("teachers")
    assert group.put(_url(opened), json=report_body()).status_code == 200
    past = datetime.now(UTC) - timedelta(seconds=1)
    with state.database.write() as session:
        session.execute(update(RoundRow).values(closes_at=past))
    body = report_body() if method == "PUT" else None
    refused = group.request(method, _url(opened), json=body)
    assert refused.status_code == 409
    assert past.isoformat(timespec="seconds")[:19] in refused.json()["detail"]


def test_a_report_is_refused_before_the_announced_opening_and_taken_from_then_on(
    make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    opens = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    opened = open_round(opens_at=opens.isoformat())
    _, group = make_group("teachers")
    refused = group.put(_url(opened), json=report_body())
    assert refused.status_code == 409
    assert f"from {opens.isoformat()} on" in refused.json()["detail"]
    with state.database.write() as session:
        session.execute(update(RoundRow).values(opens_at=database_now(session)))
    assert group.put(_url(opened), json=report_body()).status_code == 200


def test_a_draft_takes_no_report_and_does_not_show_itself(
    operator: TestClient, make_group: MakeGroup, upload_prompts: UploadPrompts
) -> None:
    draft = operator.post("/v1/rounds", json=round_body(upload_prompts())).json()
    _, group = make_group("teachers")
    assert group.put(_url(draft), json=report_body()).status_code == 404


def test_a_size_beyond_the_bound_names_field_value_and_bound(
    make_group: MakeGroup, open_round: OpenRound
) -> None:
    _, group = make_group("teachers")
    url = _url(open_round(max_group_size=10))
    refused = group.put(url, json=report_body(size=11))
    assert refused.status_code == 422
    assert refused.json()["param"] == "size"
    assert "11" in refused.json()["detail"]
    assert "10" in refused.json()["detail"]
    assert group.put(url, json=report_body(size=10)).status_code == 200


@pytest.mark.parametrize(
    ("spec", "param"),
    [
        (
            {"type": "lexical", "features": [{"type": "regex", "pattern": "("}]},
            "reward_model.features[0].pattern",
        ),
        (
            {"type": "lexical", "features": [{"type": "length", "target_words": 0}]},
            "reward_model.features[0].target_words",
        ),
        ({"type": "lexical", "features": []}, "reward_model.features"),
        ({"type": "oracle"}, "reward_model"),
    ],
)
def test_a_reward_model_that_cannot_work_is_refused(
    make_group: MakeGroup, open_round: OpenRound, state: AppState, spec: dict[str, Any], param: str
) -> None:
    _, group = make_group("teachers")
    refused = group.put(_url(open_round()), json={"size": 1, "reward_model": spec})
    assert refused.status_code == 422
    assert refused.json()["param"] == param
    assert _count(state) == 0


def test_a_number_that_json_does_not_know_is_refused(
    make_group: MakeGroup, open_round: OpenRound
) -> None:
    _, group = make_group("teachers")
    body = json.dumps(report_body()).replace('"size": 3', '"size": NaN').encode()
    refused = group.put(
        _url(open_round()), content=body, headers={"Content-Type": "application/json"}
    )
    assert refused.status_code == 422
    assert "NaN is not JSON" in refused.json()["detail"]


def test_a_constant_reward_is_accepted(make_group: MakeGroup, open_round: OpenRound) -> None:
    _, group = make_group("teachers")
    put = group.put(_url(open_round()), json=report_body(word="xyzzy"))
    assert put.status_code == 200
    assert put.json()["probe"]["minimum"] == put.json()["probe"]["maximum"] == 0.0


def test_a_preference_file_must_be_the_groups_own_and_of_that_purpose(
    make_group: MakeGroup, open_round: OpenRound
) -> None:
    _, group = make_group("teachers")
    _, other = make_group("pupils")
    url = _url(open_round())
    pairs = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    of_another = upload_jsonl(other, "preferences", pairs)["id"]
    of_prompts = upload_jsonl(group, "prompts", [{"prompt": "a"}])["id"]
    for file_id, status in [(of_another, 404), ("file_" + "0" * 26, 404), (of_prompts, 422)]:
        spec = {
            "type": "preference_data",
            "file_id": file_id,
            "method": {"name": "tfidf_bradley_terry"},
        }
        refused = group.put(url, json={"size": 1, "reward_model": spec})
        assert (refused.status_code, refused.json()["param"]) == (status, "reward_model.file_id")


def test_first_reports_of_one_group_at_once_leave_one(
    make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    _, group = make_group("teachers")
    url = _url(open_round())
    statuses: list[int] = []
    _at_once(
        [
            lambda size=size: statuses.append(
                group.put(url, json=report_body(size=size)).status_code
            )
            for size in range(1, 7)
        ]
    )
    assert statuses == [200] * 6
    assert _count(state) == 1


def test_every_report_that_was_accepted_is_in_the_job(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    """However reports and the close interleave: 200 means it counts, 409 that it does not."""
    opened = open_round()
    answers: dict[str, int] = {}

    def report(group_id: str, group: TestClient) -> None:
        answers[group_id] = group.put(_url(opened), json=report_body()).status_code

    def close() -> None:
        with state.database.write() as session:
            row = rounds.lock_round(session, OPERATOR, opened["id"])
            if session.scalar(select(func.count()).select_from(ReportRow)):
                lifecycle.close(session, row)

    groups = [make_group(f"group {number}") for number in range(6)]
    _at_once([*(lambda pair=pair: report(*pair) for pair in groups), close])
    if operator.get(f"/v1/rounds/{opened['id']}").json()["state"] == "open":
        close()
    with state.database.read() as session:
        job = session.scalars(select(JobRow)).one()
        counted = {report.group_id for report in job_inputs(session, VAULT, job.round_id)}
    assert counted == {group_id for group_id, status in answers.items() if status == 200}
    assert set(answers.values()) <= {200, 409}


def test_a_waiting_reports_deadline_is_judged_when_its_turn_comes(
    make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    """A report that waits for the round's lock while the deadline passes is late."""
    with state.database.read() as session:
        soon = database_now(session) + timedelta(milliseconds=700)
    opened = open_round(closes_at=soon.isoformat())
    _, group = make_group("teachers")
    answers: list[int] = []
    put = threading.Thread(
        target=lambda: answers.append(group.put(_url(opened), json=report_body()).status_code)
    )
    with state.database.write() as session:
        rounds.lock_round(session, OPERATOR, opened["id"])
        put.start()
        while database_now(session) < soon:
            threading.Event().wait(0.02)
    put.join()
    assert answers == [409]


def _url(round_: dict[str, Any]) -> str:
    return f"/v1/rounds/{round_['id']}/report"


def _count(state: AppState) -> int:
    with state.database.read() as session:
        return session.scalar(select(func.count()).select_from(ReportRow)) or 0


def _at_once(acts: list[Callable[[], None]]) -> None:
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], None]) -> None:
        barrier.wait()
        act()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
