"""Delivery: whole and signed, tried again by the schedule, and given up by name."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from sqlalchemy import event
from support import VAULT
from webhook_scenes import (
    Clock,
    Receiver,
    deliver_all,
    deliverer_to_private,
    endpoint_row,
    is_signed,
    messages,
    only_message,
    own_endpoint,
    receiving,
    tell,
)

from client.webhooks import verify
from service.database import Database, database_now
from service.tables import WebhookMessageRow
from service.webhooks import claims
from service.webhooks.delivery import Deliverer
from service.webhooks.outbox import publish
from service.webhooks.sending import Answer

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
SCHEDULE = [
    5 * SECOND,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
]
"""The specification's example, after the first attempt at once."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deliverer(database: Database, clock: Clock) -> Deliverer:
    return deliverer_to_private(database, VAULT, clock)


def test_a_message_arrives_whole_and_signed(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    endpoint = own_endpoint(database, f"{receiver.url}/hook?tenant=7")
    tell(database)
    assert deliver_all(deliverer) == 1
    (arrived,) = receiver.arrived
    row = only_message(database)
    assert arrived.path == "/hook?tenant=7"
    assert arrived.headers["content-type"] == "application/json"
    assert arrived.headers["host"] == receiver.url.removeprefix("http://")
    assert arrived.id == row.id
    assert abs(int(arrived.headers["webhook-timestamp"]) - time.time()) < 60
    assert is_signed(arrived, endpoint.public_keys[0])
    received = verify(arrived.body, arrived.headers, endpoint.public_keys)
    assert (received.id, received.payload.type) == (row.id, "round.opened")
    happened = row.payload["timestamp"]
    assert arrived.body.decode() == (
        f'{{"data":{{"number":0}},"timestamp":"{happened}","type":"round.opened"}}'
    )
    assert (row.status, row.attempts, row.last_status) == ("delivered", 1, 204)
    assert row.next_attempt_at is None
    assert row.delivered_at is not None


def test_an_amount_beyond_a_floats_whole_numbers_arrives_whole(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    own_endpoint(database, receiver.url)
    with database.write() as session:
        publish(session, None, "invoice.opened", {"amount_micro_units": 2**62 + 1, "name": "é"})
    assert deliver_all(deliverer) == 1
    data = json.loads(receiver.arrived[0].body)["data"]
    assert data == {"amount_micro_units": 2**62 + 1, "name": "é"}


def test_no_transaction_is_open_while_a_message_is_on_its_way(
    database: Database, deliverer: Deliverer, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_endpoint(database, receiver.url)
    tell(database)
    open_now: list[int] = []
    post = deliverer._sender.post

    def looking(*arguments: Any) -> Answer:
        open_now.append(len(checked_out))
        return post(*arguments)

    checked_out: set[int] = set()
    event.listen(database.engine, "checkout", lambda _c, record, _p: checked_out.add(id(record)))
    event.listen(database.engine, "checkin", lambda _c, record: checked_out.discard(id(record)))
    monkeypatch.setattr(deliverer._sender, "post", looking)
    assert deliver_all(deliverer) == 1
    assert open_now == [0]


def test_a_failing_receiver_is_tried_by_the_schedule_and_then_no_more(
    database: Database, deliverer: Deliverer, receiver: Receiver, clock: Clock
) -> None:
    endpoint = own_endpoint(database, receiver.url)
    tell(database)
    receiver.answer(*[500] * 20)
    for attempt, delay in enumerate(SCHEDULE, start=1):
        assert deliver_all(deliverer) == 1
        row = only_message(database)
        assert (row.status, row.attempts) == ("pending", attempt)
        assert (row.last_status, row.last_error) == (500, "the answer was HTTP 500")
        assert row.next_attempt_at is not None
        with database.read() as session:
            waits = row.next_attempt_at - clock(session)
        assert delay - 5 * SECOND < waits <= 1.1 * delay
        clock.ahead += waits - 2 * SECOND
        assert deliver_all(deliverer) == 0, f"attempt {attempt + 1} came too early"
        clock.ahead += 2 * SECOND
    assert deliver_all(deliverer) == 1
    row = only_message(database)
    assert (row.status, row.attempts, row.next_attempt_at) == ("failed", 10, None)
    clock.ahead += timedelta(days=30)
    assert deliver_all(deliverer) == 0
    assert set(receiver.ids) == {row.id}
    stamps = [int(each.headers["webhook-timestamp"]) for each in receiver.arrived]
    assert stamps == sorted(set(stamps)), "each attempt has its own time"
    assert all(is_signed(each, endpoint.public_keys[0]) for each in receiver.arrived)


def test_a_receiver_that_comes_back_gets_the_message(
    database: Database, deliverer: Deliverer, receiver: Receiver, clock: Clock
) -> None:
    own_endpoint(database, receiver.url)
    tell(database)
    receiver.answer(502, 404, 200)
    for _ in range(3):
        assert deliver_all(deliverer) == 1
        clock.ahead += HOUR
    row = only_message(database)
    assert (row.status, row.attempts, row.last_error) == ("delivered", 3, None)


def test_retries_of_many_messages_do_not_come_at_one_instant() -> None:
    row = WebhookMessageRow(attempts=2)
    with_jitter = set()
    for _ in range(50):
        claims._note(row, Answer(500, "no"), NOW)
        assert row.next_attempt_at is not None
        with_jitter.add(row.next_attempt_at - NOW)
    assert len(with_jitter) > 40
    assert all(5 * MINUTE <= each <= 1.1 * 5 * MINUTE for each in with_jitter)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_a_receiver_that_asks_for_time_gets_it_for_all_its_messages(
    database: Database,
    deliverer: Deliverer,
    receiver: Receiver,
    clock: Clock,
    status: int,
    as_date: bool,
) -> None:
    own_endpoint(database, receiver.url)
    tell(database, 2)
    with database.read() as session:
        later = database_now(session) + 600 * SECOND
    receiver.answer(status, Retry_After=format_datetime(later) if as_date else "600")
    assert deliver_all(deliverer) == 1
    clock.ahead += 590 * SECOND
    assert deliver_all(deliverer) == 0
    clock.ahead += 11 * SECOND
    assert deliver_all(deliverer) == 2
    assert [row.status for row in messages(database)] == ["delivered"] * 2


@pytest.mark.parametrize("asked", ["9" * 400, "-5", "soon", "Mon, 99 Foo 2030"])
def test_a_nonsensical_retry_after_holds_a_message_up_for_a_day_at_most(
    database: Database, deliverer: Deliverer, receiver: Receiver, clock: Clock, asked: str
) -> None:
    own_endpoint(database, receiver.url)
    tell(database)
    receiver.answer(503, Retry_After=asked)
    assert deliver_all(deliverer) == 1
    clock.ahead += 25 * HOUR
    assert deliver_all(deliverer) == 1
    assert only_message(database).status == "delivered"


def test_an_endpoint_that_is_gone_is_disabled_and_its_other_messages_wait(
    database: Database, deliverer: Deliverer, receiver: Receiver, clock: Clock
) -> None:
    endpoint = own_endpoint(database, receiver.url)
    tell(database, 2)
    receiver.answer(410)
    assert deliver_all(deliverer) == 1
    assert endpoint_row(database, endpoint).status == "disabled"
    first, second = messages(database)
    assert (first.status, first.last_status) == ("failed", 410)
    assert (second.status, second.attempts) == ("pending", 0)
    clock.ahead += timedelta(days=2)
    tell(database)
    assert len(messages(database)) == 2
    assert deliver_all(deliverer) == 0


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(
    database: Database, deliverer: Deliverer, receiver: Receiver, status: int
) -> None:
    own_endpoint(database, f"{receiver.url}/old")
    tell(database)
    receiver.answer(status, Location=f"{receiver.url}/new")
    assert deliver_all(deliverer) == 1
    assert [each.path for each in receiver.arrived] == ["/old"]
    assert only_message(database).last_error == f"the answer was HTTP {status}"
