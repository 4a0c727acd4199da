"""Quotes over HTTP: for which rounds, by what number of groups, and who learns of them."""

from typing import Any

import pytest
from fake_cluster import FakeCluster, job_row, running, status, until
from preview_scenes import publish_next, quote, quoted
from sqlalchemy import select
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, count_rows, report_body

from api_schemas.jobs import QuoteJobInput, stages_of
from service.dependencies import AppState
from service.settings import Settings
from service.tables import AuditRow, JobRow, QuoteRow, RoundRow

KEY = {"Idempotency-Key": "6f1c2a"}


@pytest.fixture
def opened(open_round: OpenRound) -> dict[str, Any]:
    return open_round()


def test_a_quote_waits_for_a_job_of_its_own_and_the_round_stays_as_it_is(
    operator: TestClient, state: AppState, opened: dict[str, Any]
) -> None:
    made = quote(operator, opened["id"], groups=5)
    assert (made["status"], made["result"], made["round_id"]) == ("queued", None, opened["id"])
    assert operator.get(f"/v1/quotes/{made['id']}").json() == made
    assert operator.get(f"/v1/rounds/{opened['id']}").json() == opened
    job = operator.get(f"/v1/jobs/{made['job_id']}").json()
    assert (job["kind"], job["quote_id"], job["round_id"]) == ("quote", made["id"], opened["id"])
    assert [stage["name"] for stage in job["stages"]] == list(stages_of("quote"))
    given = QuoteJobInput.model_validate(job_row(state.database, made["job_id"]).input)
    assert (given.groups, given.quote_id) == (5, made["id"])
    assert given.announcement.model_dump(mode="json") == opened["announcement"]
    with state.database.read() as session:
        actions = session.scalars(select(AuditRow.action).where(AuditRow.subject == made["id"]))
        assert actions.all() == ["quote.created"]


def test_without_a_number_all_registered_groups_count_however_many_reported(
    operator: TestClient, state: AppState, make_group: MakeGroup, opened: dict[str, Any]
) -> None:
    assert _groups(state, quote(operator, opened["id"])) == 1, "nobody is registered"
    _, reporting = make_group("teachers")
    make_group("pupils")
    before = _groups(state, quote(operator, opened["id"]))
    reporting.put(f"/v1/rounds/{opened['id']}/report", json=report_body()).raise_for_status()
    assert _groups(state, quote(operator, opened["id"])) == before == 2
    operator.post(f"/v1/rounds/{opened['id']}/close").raise_for_status()
    assert _groups(state, quote(operator, opened["id"])) == 2


def test_more_groups_than_a_quote_can_be_for_are_to_be_named(
    operator: TestClient,
    make_group: MakeGroup,
    opened: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.quotes.requesting.MAX_GROUPS", 1)
    for name in ("teachers", "pupils"):
        make_group(name)
    url = f"/v1/rounds/{opened['id']}/quote"
    refused = operator.post(url, json={})
    assert (refused.status_code, refused.json()["param"]) == (422, "groups")
    assert "2 groups are registered" in refused.json()["detail"]
    assert operator.post(url, json={"groups": 2}).status_code == 202


def test_a_round_that_has_run_or_never_will_has_no_quote(
    operator: TestClient, state: AppState, opened: dict[str, Any]
) -> None:
    for round_state in ("running", "settled", "failed", "cancelled"):
        with state.database.write() as session:
            session.get_one(RoundRow, opened["id"]).state = round_state
        refused = operator.post(f"/v1/rounds/{opened['id']}/quote", json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "not_quotable")
        assert f"is {round_state};" in refused.json()["detail"]
    assert (count_rows(state, QuoteRow), count_rows(state, JobRow)) == (0, 0)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"groups": 0}, "groups"),
    ({"groups": 1001}, "groups"),
    ({"groups": "3"}, "groups"),
    ({"price_per_device_hour_micro_units": -1}, "price_per_device_hour_micro_units"),
    ({"price_per_device_hour_micro_units": 0.5}, "price_per_device_hour_micro_units"),
    ({"colour": "red"}, "colour"),
]


def test_what_cannot_be_quoted_is_named(
    operator: TestClient, state: AppState, opened: dict[str, Any]
) -> None:
    for asked, param in WRONG:
        refused = operator.post(f"/v1/rounds/{opened['id']}/quote", json=asked)
        assert (refused.status_code, refused.json()["param"]) == (422, param), refused.text
    assert count_rows(state, QuoteRow) == 0


def test_a_quote_asked_for_twice_under_one_key_is_one(
    operator: TestClient, state: AppState, opened: dict[str, Any]
) -> None:
    url = f"/v1/rounds/{opened['id']}/quote"
    first, again = (operator.post(url, json={"groups": 2}, headers=KEY) for _ in range(2))
    assert (again.status_code, again.json()) == (202, first.json())
    assert operator.post(url, json={"groups": 3}, headers=KEY).status_code == 422
    assert count_rows(state, QuoteRow) == 1


def test_a_finished_quote_has_its_figures_and_lists_leave_them_out(
    operator: TestClient, state: AppState, opened: dict[str, Any]
) -> None:
    made = [quote(operator, opened["id"], groups=count) for count in (2, 3)]
    held = publish_next(state)
    done = operator.get(f"/v1/quotes/{made[0]['id']}").json()
    assert isinstance(held.job, QuoteJobInput)
    assert done["result"] == quoted(held.job).model_dump(mode="json")
    assert (done["status"], done["result"]["groups"]) == ("succeeded", 2)
    listed = operator.get(f"/v1/rounds/{opened['id']}/quotes").json()["data"]
    assert listed == [made[1], done | {"result": None}]


def test_groups_learn_nothing_of_a_quote(
    operator: TestClient, state: AppState, make_group: MakeGroup, opened: dict[str, Any]
) -> None:
    _, member = make_group("teachers")
    paths = ("/v1/jobs", f"/v1/rounds/{opened['id']}")
    seen = [member.get(path).json() for path in paths]
    made = quote(operator, opened["id"])
    publish_next(state)
    assert [member.get(path).json() for path in paths] == seen
    job = f"/v1/jobs/{made['job_id']}"
    for path in (job, f"{job}/events", f"{job}/events/stream"):
        assert member.get(path).status_code == 404
    for path in (f"/v1/quotes/{made['id']}", f"/v1/rounds/{opened['id']}/quotes"):
        assert member.get(path).status_code == 403


def test_a_coordinator_quotes_a_round_that_stays_open(
    operator: TestClient, quick: Settings, cluster: FakeCluster, state: AppState, opened: Any
) -> None:
    made = quote(operator, opened["id"])
    with running(quick, cluster):
        until(lambda: status(state.database, made["job_id"]) == "succeeded")
    assert cluster.ran == ["calibrate"]
    assert operator.get(f"/v1/quotes/{made['id']}").json()["result"]["trainings"] == 4
    assert operator.get(f"/v1/rounds/{opened['id']}").json()["state"] == "open"


def test_a_cancelled_quote_leaves_the_round_alone_and_can_be_tried_again(
    operator: TestClient, state: AppState, opened: dict[str, Any]
) -> None:
    made = quote(operator, opened["id"])
    job = f"/v1/jobs/{made['job_id']}"
    assert operator.post(f"{job}/cancel").json()["status"] == "cancelled"
    assert operator.get(f"/v1/rounds/{opened['id']}").json()["state"] == "open"
    assert operator.post(f"{job}/retry").json()["status"] == "queued"
    publish_next(state)
    assert operator.get(f"/v1/quotes/{made['id']}").json()["status"] == "succeeded"


def test_an_unknown_quote_or_round_is_not_found(operator: TestClient) -> None:
    assert operator.get("/v1/quotes/quo_" + "0" * 26).status_code == 404
    unknown = "/v1/rounds/rnd_" + "0" * 26
    assert operator.get(f"{unknown}/quotes").status_code == 404
    assert operator.post(f"{unknown}/quote", json={}).status_code == 404


def _groups(state: AppState, made: dict[str, Any]) -> int:
    return QuoteJobInput.model_validate(job_row(state.database, made["job_id"]).input).groups
