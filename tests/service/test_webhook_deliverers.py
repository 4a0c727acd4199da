"""Deliverers that die, sleep or run beside others: nothing is lost, and nothing sent by two."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fake_cluster import FakeCluster, running, until
from scenes import OPERATOR
from support import VAULT
from webhook_scenes import (
    Clock,
    Receiver,
    deliver_all,
    deliverer_to_private,
    messages,
    only_message,
    own_endpoint,
    receiving,
    tell,
)

from api_schemas.webhooks import WebhookEndpoint
from service.database import Database
from service.settings import Settings
from service.tables import WebhookEndpointRow
from service.webhooks import claims, repository
from service.webhooks.delivery import THREADS, Deliverer
from service.webhooks.outbox import publish
from service.webhooks.sending import Answer


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


def test_a_crash_between_the_answer_and_its_note_sends_the_same_message_again(
    database: Database,
    deliverer: Deliverer,
    receiver: Receiver,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_endpoint(database, receiver.url)
    tell(database)

    def die(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(claims, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            deliverer.deliver_next()
    assert only_message(database).status == "pending"
    another = deliverer_to_private(database, VAULT, clock)
    assert deliver_all(another) == 0, "it is held for as long as it might be on its way"
    clock.ahead += claims.HOLD
    assert deliver_all(another) == 1
    first, again = receiver.arrived
    assert first.id == again.id == only_message(database).id
    assert first.body == again.body
    assert only_message(database).status == "delivered"


def test_a_deliverer_that_slept_past_its_hold_notes_nothing(
    database: Database, deliverer: Deliverer, receiver: Receiver, clock: Clock
) -> None:
    own_endpoint(database, receiver.url)
    tell(database)
    stale = deliverer._claim()
    assert stale is not None
    clock.ahead += claims.HOLD
    assert deliver_all(deliverer_to_private(database, VAULT, clock)) == 1
    with database.write() as session:
        assert not claims.finish(session, stale, Answer(500, "late"), clock(session))
    row = only_message(database)
    assert (row.status, row.last_status) == ("delivered", 204)


def test_what_is_replayed_while_it_is_on_its_way_is_sent_once_more(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    own_endpoint(database, receiver.url)
    tell(database)
    held = deliverer._claim()
    assert held is not None
    with database.write() as session:
        repository.replay(session, OPERATOR, held.message_id)
    deliverer._deliver(held)
    assert only_message(database).status == "pending"
    assert deliver_all(deliverer) == 1
    assert receiver.ids == [held.message_id] * 2
    assert only_message(database).status == "delivered"


def test_an_endpoint_deleted_while_a_message_is_on_its_way_is_left_alone(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    endpoint = own_endpoint(database, receiver.url)
    tell(database)
    held = deliverer._claim()
    assert held is not None
    with database.write() as session:
        repository.delete_endpoint(session, OPERATOR, endpoint.id)
    deliverer._deliver(held)
    assert messages(database) == []


def test_an_endpoint_is_deleted_only_once_what_is_just_told_to_it_is_written(
    database: Database,
) -> None:
    """Else the news would refer to nothing, and the deed that it tells would fail with it."""
    endpoint = own_endpoint(database, "https://receiver.example/")

    def delete() -> None:
        with database.write() as session:
            repository.delete_endpoint(session, OPERATOR, endpoint.id)

    with database.write() as session:
        publish(session, None, "round.opened", {})
        thread = threading.Thread(target=delete)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(20)
    assert not thread.is_alive()
    assert messages(database) == []


def test_delivery_does_not_wait_for_what_is_just_told(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    own_endpoint(database, receiver.url)
    tell(database)
    with database.write() as session:
        publish(session, None, "round.opened", {})
        session.flush()
        assert deliver_all(deliverer) == 1
        assert only_message(database).status == "delivered"


def test_an_endpoint_whose_key_is_damaged_fails_by_name_and_holds_up_no_other(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    damaged = own_endpoint(database, f"{receiver.url}/damaged")
    own_endpoint(database, f"{receiver.url}/whole")
    with database.write() as session:
        row = session.get_one(WebhookEndpointRow, damaged.id)
        last = row.sealed_private_key[-1] ^ 1
        row.sealed_private_key = row.sealed_private_key[:-1] + bytes([last])
    tell(database)
    assert deliver_all(deliverer) == 2
    assert [each.path for each in receiver.arrived] == ["/whole"]
    (failed,) = (row for row in messages(database) if row.endpoint_id == damaged.id)
    assert failed.status == "pending"
    assert "key can't be opened" in str(failed.last_error)


def test_two_deliverers_send_each_message_once_in_order_and_one_at_a_time(
    database: Database, receiver: Receiver
) -> None:
    paths = [f"/{number}" for number in range(6)]
    for path in paths:
        own_endpoint(database, receiver.url + path)
    tell(database, 15)
    with ExitStack() as both:
        for _ in range(2):
            both.enter_context(deliverer_to_private(database, VAULT))
        until(lambda: all(row.status == "delivered" for row in messages(database)))
    assert Counter(receiver.ids) == Counter(row.id for row in messages(database))
    assert len(receiver.ids) == 90
    for path in paths:
        ids = [each.id for each in receiver.arrived if each.path == path]
        assert ids == sorted(ids)
        assert receiver.most_at_once[path] == 1
    assert {row.attempts for row in messages(database)} == {1}


def test_a_slow_receiver_holds_up_nobody_else(database: Database, receiver: Receiver) -> None:
    slow = own_endpoint(database, f"{receiver.url}/slow")
    quick = own_endpoint(database, f"{receiver.url}/quick")
    receiver.blocked["/slow"] = threading.Event()
    tell(database, 5)

    def left(endpoint: WebhookEndpoint) -> int:
        rows = [row for row in messages(database) if row.endpoint_id == endpoint.id]
        return sum(row.status == "pending" for row in rows)

    with deliverer_to_private(database, VAULT):
        until(lambda: left(quick) == 0)
        assert left(slow) == 5
        receiver.blocked["/slow"].set()
        until(lambda: left(slow) == 0)
    assert receiver.most_at_once == {"/slow": 1, "/quick": 1}


def test_an_owner_with_many_slow_receivers_keeps_threads_free_for_the_others(
    database: Database, receiver: Receiver
) -> None:
    for number in range(THREADS):
        path = f"/slow/{number}"
        receiver.blocked[path] = threading.Event()
        own_endpoint(database, receiver.url + path, owner="grp_" + "0" * 26)
    own_endpoint(database, f"{receiver.url}/quick", owner="grp_" + "1" * 26)
    tell(database, owner="grp_" + "0" * 26)
    with deliverer_to_private(database, VAULT):
        until(lambda: len(receiver.arrived) >= claims.MOST_OF_ONE_OWNER)
        tell(database, owner="grp_" + "1" * 26)
        until(lambda: any(each.path == "/quick" for each in receiver.arrived))
        assert len(receiver.arrived) == claims.MOST_OF_ONE_OWNER + 1
        for blocked in receiver.blocked.values():
            blocked.set()
        until(lambda: all(row.status == "delivered" for row in messages(database)))


def test_an_endpoint_with_a_backlog_takes_turns_with_the_others(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    for owner in "01":
        own_endpoint(database, f"{receiver.url}/{owner}", owner=f"grp_{owner * 26}")
    tell(database, 5, owner="grp_" + "0" * 26)
    tell(database, 1, owner="grp_" + "1" * 26)
    deliver_all(deliverer)
    assert [each.path for each in receiver.arrived][:3] == ["/0", "/1", "/0"]


def test_a_coordinator_delivers_beside_its_jobs(
    database: Database, quick: Settings, cluster: FakeCluster, receiver: Receiver
) -> None:
    own_endpoint(database, receiver.url)
    with running(quick.model_copy(update={"webhook_private_addresses": True}), cluster):
        tell(database)
        until(lambda: only_message(database).status == "delivered")
    assert len(receiver.arrived) == 1
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("webhooks") for name in names)


def test_a_database_that_is_away_for_a_while_stops_no_deliverer(
    database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_endpoint(database, receiver.url)
    looks = []

    def away(*_: Any) -> bool:
        looks.append(None)
        raise ConnectionError

    with deliverer_to_private(database, VAULT):
        with monkeypatch.context() as broken:
            broken.setattr(claims, "any_due", away)
            tell(database)
            until(lambda: len(looks) > 2)
        until(lambda: only_message(database).status == "delivered")
