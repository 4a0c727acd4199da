"""The outbox: what is told to whom, in the transaction of what it tells, and never too much."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from reward_model_scenes import create, publish_next
from scenes import OPERATOR, queue_job, settle_next, settled_round
from sqlalchemy import event
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, UploadPrompts, count_rows, report_body, round_body
from webhook_scenes import add_endpoint, messages

from api_schemas.errors import Conflict
from api_schemas.ids import new_id
from api_schemas.webhooks import EVENT_TYPES, WebhookPayload
from service.database import database_now
from service.dependencies import AppState
from service.jobs import queue
from service.rounds import lifecycle, repository
from service.tables import JobRow, RoundRow, WebhookMessageRow
from service.webhooks.outbox import _next_ids, publish

URL = "https://receiver.example/hook"
ROUND_ID = "rnd_" + "0" * 26


def told(state: AppState, endpoint: dict[str, Any]) -> list[str]:
    return [row.type for row in messages(state.database) if row.endpoint_id == endpoint["id"]]


def data(state: AppState, endpoint: dict[str, Any], type: str) -> list[dict[str, Any]]:
    rows = messages(state.database)
    mine = [row for row in rows if row.endpoint_id == endpoint["id"] and row.type == type]
    return [dict(row.payload["data"]) for row in mine]


def test_a_transaction_that_is_rolled_back_leaves_no_message(
    operator: TestClient, state: AppState, open_round: OpenRound
) -> None:
    add_endpoint(operator, URL)
    round_id = open_round()["id"]
    before = count_rows(state, WebhookMessageRow)
    with state.database.write() as session:
        lifecycle.cancel(session, repository.lock_round(session, OPERATOR, round_id))
        session.flush()
        assert session.query(WebhookMessageRow).count() == before + 1
        session.rollback()
    assert count_rows(state, WebhookMessageRow) == before
    with state.database.write() as session:
        lifecycle.cancel(session, repository.lock_round(session, OPERATOR, round_id))
    assert [row.type for row in messages(state.database)] == ["round.opened", "round.cancelled"]


def test_a_refused_change_of_state_is_told_to_nobody(
    operator: TestClient, state: AppState, open_round: OpenRound
) -> None:
    endpoint = add_endpoint(operator, URL)
    round_id = open_round()["id"]
    assert operator.post(f"/v1/rounds/{round_id}/open").status_code == 409
    with pytest.raises(Conflict), state.database.write() as session:
        lifecycle.move(session, session.get_one(RoundRow, round_id), "settled")
    assert told(state, endpoint) == ["round.opened"]


def test_all_groups_are_told_of_a_round_from_its_opening_on(
    operator: TestClient, make_group: MakeGroup, state: AppState, open_round: OpenRound
) -> None:
    _, teachers = make_group("teachers")
    endpoints = [add_endpoint(client, URL) for client in (operator, teachers)]
    round_id = open_round()["id"]
    operator.post(f"/v1/rounds/{round_id}/cancel")
    for endpoint in endpoints:
        assert told(state, endpoint) == ["round.opened", "round.cancelled"]
        assert data(state, endpoint, "round.cancelled") == [
            {"round_id": round_id, "state": "cancelled"}
        ]


def test_a_draft_given_up_is_told_to_the_operator_alone(
    operator: TestClient,
    make_group: MakeGroup,
    state: AppState,
    upload_prompts: UploadPrompts,
) -> None:
    _, teachers = make_group("teachers")
    mine, theirs = add_endpoint(operator, URL), add_endpoint(teachers, URL)
    draft = operator.post("/v1/rounds", json=round_body(upload_prompts())).json()
    assert operator.post(f"/v1/rounds/{draft['id']}/cancel").status_code == 200
    assert told(state, mine) == ["round.cancelled"]
    assert told(state, theirs) == []


def test_a_settlement_tells_each_group_of_the_round_and_of_its_own_invoice_alone(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils", "parents"))
    endpoints = {id_: add_endpoint(client, URL) for id_, client in members.items()}
    mine = add_endpoint(operator, URL)
    queue_job(state.database, sorted(members))
    settle_next(state)
    for id_, endpoint in endpoints.items():
        types = told(state, endpoint)
        assert types[:2] == ["round.opened", "round.closed"]
        assert sorted(types[2:]) == ["invoice.opened", "receipt.created", "round.settled"]
        (invoice,) = members[id_].get("/v1/invoices").json()["data"]
        assert data(state, endpoint, "invoice.opened") == [
            {
                "invoice_id": invoice["id"],
                "round_id": invoice["round_id"],
                "group_id": id_,
                "number": invoice["number"],
                "status": "open",
                "amount_micro_units": invoice["amount_micro_units"],
                "currency": "EUR",
            }
        ]
        (receipt,) = data(state, endpoint, "receipt.created")
        assert receipt["receipt_id"] == invoice["receipt_id"]
        assert others(members, id_).isdisjoint(text_of(state, endpoint).split('"'))
    assert {each["group_id"] for each in data(state, mine, "invoice.opened")} == set(members)
    assert told(state, mine).count("round.settled") == 1


def test_an_invoice_of_nothing_is_told_as_paid(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    teachers, client = make_group("teachers")
    endpoint = add_endpoint(client, URL)
    queue_job(state.database, [teachers])
    settle_next(state, payments={teachers: 0.0})
    assert "invoice.paid" in told(state, endpoint)
    assert data(state, endpoint, "invoice.paid")[0]["status"] == "paid"


@pytest.mark.parametrize(
    ("deed", "share", "types"),
    [
        ("payments", 1, ["invoice.paid"]),
        ("payments", 2, []),  # a half: it stays open
        ("void", None, ["invoice.voided"]),
        ("uncollectible", None, ["invoice.uncollectible"]),
        ("credit-notes", 2, ["credit_note.created"]),
        ("credit-notes", 1, ["invoice.paid", "credit_note.created"]),
    ],
)
def test_what_becomes_of_an_invoice_is_told_to_the_operator_and_its_group(
    operator: TestClient,
    make_group: MakeGroup,
    state: AppState,
    deed: str,
    share: int | None,
    types: list[str],
) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils"))
    queue_job(state.database, sorted(members))
    settle_next(state)
    invoice = operator.get("/v1/invoices").json()["data"][0]
    others_id = next(id_ for id_ in members if id_ != invoice["group_id"])
    mine, theirs = add_endpoint(operator, URL), add_endpoint(members[invoice["group_id"]], URL)
    elses = add_endpoint(members[others_id], URL)
    note = {"reference": "bank"} if deed == "payments" else {"reason": "a mistake"}
    body = note | {"amount_micro_units": invoice["amount_micro_units"] // share} if share else None
    answer = operator.post(f"/v1/invoices/{invoice['id']}/{deed}", json=body)
    assert answer.status_code in (200, 201), answer.text
    assert told(state, mine) == told(state, theirs) == types
    assert told(state, elses) == []
    status = operator.get(f"/v1/invoices/{invoice['id']}").json()["status"]
    for type in types:
        (news,) = data(state, theirs, type)
        assert news.get("invoice", news)["status"] == status
        assert news.get("invoice", news)["invoice_id"] == invoice["id"]


def test_a_draft_of_an_invoice_is_told_to_no_group(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    teachers, client = make_group("teachers")
    mine, theirs = add_endpoint(operator, URL), add_endpoint(client, URL)
    queue_job(state.database, [teachers], invoicing="manual")
    settle_next(state)
    (draft,) = operator.get("/v1/invoices").json()["data"]
    operator.post(f"/v1/invoices/{draft['id']}/void")
    assert [type for type in told(state, mine) if type[:5] != "round"] == ["invoice.voided"]
    assert [type for type in told(state, theirs) if type[:5] != "round"] == []


def test_a_failed_round_is_told_without_its_reason(
    operator: TestClient, make_group: MakeGroup, state: AppState, open_round: OpenRound
) -> None:
    _, teachers = make_group("teachers")
    endpoint = add_endpoint(teachers, URL)
    round_id = open_round()["id"]
    operator.post(f"/v1/rounds/{round_id}/close")  # nobody reported
    assert told(state, endpoint) == ["round.opened", "round.closed", "round.failed"]
    assert data(state, endpoint, "round.failed") == [{"round_id": round_id, "state": "failed"}]


def test_until_the_close_nobody_is_told_of_a_report(
    app: FastAPI,
    operator: TestClient,
    make_group: MakeGroup,
    state: AppState,
    open_round: OpenRound,
) -> None:
    _, teachers = make_group("teachers")
    _, pupils = make_group("pupils")
    closes_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    url = f"/v1/rounds/{open_round(closes_at=closes_at)['id']}/report"
    for client in (operator, teachers, pupils):
        add_endpoint(client, URL)
    assert teachers.put(url, json=report_body()).status_code == 200
    assert teachers.put(url, json=report_body(size=4)).status_code == 200
    assert teachers.delete(url).status_code == 200
    assert messages(state.database) == []


def test_after_the_close_a_message_tells_neither_reports_nor_their_number(
    operator: TestClient, make_group: MakeGroup, state: AppState, open_round: OpenRound
) -> None:
    _, teachers = make_group("teachers")
    mine = add_endpoint(operator, URL)
    bodies = []
    for reports in (0, 1):
        round_id = open_round()["id"]
        if reports:
            teachers.put(f"/v1/rounds/{round_id}/report", json=report_body())
        operator.post(f"/v1/rounds/{round_id}/close")
        closed = data(state, mine, "round.closed")[-1]
        bodies.append(json.dumps(closed).replace(round_id, "a round"))
    assert bodies[0] == bodies[1] == '{"round_id": "a round", "state": "closed"}'


def test_a_job_is_told_to_its_owner_alone(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    _, teachers = make_group("teachers")
    _, pupils = make_group("pupils")
    endpoints = [add_endpoint(client, URL) for client in (teachers, operator, pupils)]
    job_id = create(teachers)["job_id"]
    publish_next(state)
    cancelled_id = create(teachers)["job_id"]
    assert teachers.post(f"/v1/jobs/{cancelled_id}/cancel").status_code == 200
    assert told(state, endpoints[0]) == ["job.succeeded", "job.cancelled"]
    assert data(state, endpoints[0], "job.succeeded") == [
        {"job_id": job_id, "kind": "reward_model", "status": "succeeded"}
    ]
    assert told(state, endpoints[1]) == told(state, endpoints[2]) == []


def test_an_audit_is_no_round_and_its_job_is_told_to_the_operator(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    _, teachers = make_group("teachers")
    round_id = settled_round(state)
    mine, theirs = add_endpoint(operator, URL), add_endpoint(teachers, URL)
    with state.database.write() as session:
        now = database_now(session)
        audit = JobRow(
            id=new_id("job"),
            kind="audit",
            round_id=round_id,
            status="queued",
            input={},
            created_at=now,
        )
        session.add(audit)
        session.flush()
        queue.finish(session, audit, "cancelled", now)
    assert told(state, mine) == ["job.cancelled"]
    assert told(state, theirs) == []


def test_messages_of_one_transaction_keep_their_order(
    operator: TestClient, state: AppState
) -> None:
    add_endpoint(operator, URL)
    with state.database.write() as session:
        for number in range(20):
            publish(session, ["operator"], "round.opened", {"number": number})
        within_milliseconds = [_next_ids(session, 1)[0] for _ in range(50)]
    numbers = [row.payload["data"]["number"] for row in messages(state.database)]
    assert numbers == list(range(20))
    assert within_milliseconds == sorted(within_milliseconds)


def test_an_event_that_nobody_asked_for_costs_one_query(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    teachers, client = make_group("teachers")
    add_endpoint(client, URL, "invoice.paid")
    add_endpoint(operator, URL)
    statements: list[str] = []
    event.listen(
        state.database.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: statements.append(statement),
    )
    with state.database.write() as session:
        publish(session, [teachers], "round.opened", {"round_id": ROUND_ID, "state": "open"})
    assert len([each for each in statements if "webhook" in each]) == 1
    assert messages(state.database) == []


def test_every_message_is_a_whole_payload_of_a_known_type(
    operator: TestClient, state: AppState
) -> None:
    add_endpoint(operator, URL)
    queue_job(state.database)
    settle_next(state)
    rows = messages(state.database)
    assert len(rows) > 5
    for row in rows:
        payload = WebhookPayload.model_validate(row.payload)
        assert payload.type == row.type
        assert payload.type in EVENT_TYPES
        assert payload.timestamp == row.created_at.replace(
            microsecond=row.created_at.microsecond // 1000 * 1000
        )


def others(members: dict[str, Any], group_id: str) -> set[str]:
    return set(members) - {group_id}


def text_of(state: AppState, endpoint: dict[str, Any]) -> str:
    rows = messages(state.database)
    return json.dumps([row.payload for row in rows if row.endpoint_id == endpoint["id"]])
