"""Webhook endpoints and their messages over HTTP: each owner has its own, and they lead outside."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, count_rows
from webhook_scenes import (
    Receiver,
    add_endpoint,
    deliver_all,
    deliverer_to_private,
    is_signed,
    messages,
    receiving,
)

from api_schemas.webhooks import EVENT_TYPES
from service.dependencies import AppState
from service.settings import Settings
from service.tables import WebhookEndpointRow, WebhookMessageRow

PUBLIC = "https://teachers.example/hook"


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    private_too = "private" in request.fixturenames
    return settings.model_copy(update={"webhook_private_addresses": private_too})


@pytest.fixture
def private() -> Any:
    """A service whose webhooks may lead to this machine, and a receiver there."""
    with receiving() as receiver:
        yield receiver


def test_an_endpoint_hears_of_everything_unless_it_names_types(operator: TestClient) -> None:
    everything = add_endpoint(operator, PUBLIC)
    some = add_endpoint(operator, PUBLIC, "round.opened")
    assert everything["event_types"] == list(EVENT_TYPES)
    assert some["event_types"] == ["round.opened"]
    assert everything["status"] == "enabled"
    assert operator.get("/v1/webhook-endpoints").json()["data"] == [some, everything]
    assert operator.get(_url(some)).json() == some


def test_the_private_key_is_sealed_for_its_endpoint_alone(
    operator: TestClient, state: AppState
) -> None:
    made = [add_endpoint(operator, PUBLIC) for _ in range(2)]
    assert made[0]["public_keys"] != made[1]["public_keys"]
    with state.database.read() as session:
        row = session.get_one(WebhookEndpointRow, made[0]["id"])
    private = state.vault.open(row.sealed_private_key, "webhook_endpoint", row.id)
    assert len(private) == 32
    assert private not in row.sealed_private_key
    with pytest.raises(Exception, match="can't be opened"):
        state.vault.open(row.sealed_private_key, "webhook_endpoint", made[1]["id"])


def test_each_owner_finds_its_own_endpoints_and_messages_alone(
    operator: TestClient, make_group: MakeGroup
) -> None:
    _, teachers = make_group("teachers")
    _, pupils = make_group("pupils")
    endpoint = add_endpoint(teachers, PUBLIC)
    message = teachers.post(f"{_url(endpoint)}/test").json()
    for other in (operator, pupils):
        assert other.get("/v1/webhook-endpoints").json()["data"] == []
        answers = [
            other.get(_url(endpoint)),
            other.patch(_url(endpoint), json={"status": "disabled"}),
            other.post(f"{_url(endpoint)}/rotate-key"),
            other.post(f"{_url(endpoint)}/test"),
            other.get(f"{_url(endpoint)}/messages"),
            other.post(f"/v1/webhook-messages/{message['id']}/replay"),
            other.delete(_url(endpoint)),
        ]
        assert [answer.status_code for answer in answers] == [404] * len(answers)
        assert endpoint["id"] not in answers[5].text, "a message tells whose it is"
    assert teachers.get(_url(endpoint)).json() == endpoint
    assert teachers.get(f"{_url(endpoint)}/messages").json()["data"] == [message]


def test_a_change_leaves_what_it_does_not_name(operator: TestClient) -> None:
    endpoint = add_endpoint(operator, PUBLIC)
    assert operator.patch(_url(endpoint), json={}).json() == endpoint
    changed = operator.patch(_url(endpoint), json={"event_types": ["invoice.paid"]}).json()
    assert changed == endpoint | {"event_types": ["invoice.paid"]}
    moved = operator.patch(_url(endpoint), json={"url": f"{PUBLIC}/2", "status": "disabled"})
    assert moved.json() == changed | {"url": f"{PUBLIC}/2", "status": "disabled"}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://teachers.example/hook", "https://"),
        ("ftp://teachers.example/", "https://"),
        ("https://user:secret@teachers.example/", "no user"),
        ("https://teachers.example/#part", "fragment"),
        ("https:///hook", "no host"),
        ("https://teachers.example:99999/", "URL"),
        ("https://teachers.example/a b", "pattern"),
        ("https://schüler.example/", "pattern"),
        ("https://127.0.0.1/", "not public"),
        ("https://localhost/", "not public"),
        ("https://[::1]/", "not public"),
        ("https://169.254.169.254/latest/meta-data", "not public"),
        ("https://10.1.2.3/", "not public"),
    ],
)
def test_a_url_that_may_not_be_is_refused_by_name(
    operator: TestClient, url: str, reason: str
) -> None:
    answer = operator.post("/v1/webhook-endpoints", json={"url": url})
    assert answer.status_code == 422, answer.text
    assert answer.json()["param"] == "url"
    assert reason in answer.json()["detail"]
    endpoint = add_endpoint(operator, PUBLIC)
    assert operator.patch(_url(endpoint), json={"url": url}).status_code == 422
    assert operator.get(_url(endpoint)).json()["url"] == PUBLIC


@pytest.mark.parametrize("types", [[], ["round.opened"] * 2, ["round.reported"]])
def test_event_types_that_there_are_not_or_twice_are_refused(
    operator: TestClient, types: list[str]
) -> None:
    answer = operator.post("/v1/webhook-endpoints", json={"url": PUBLIC, "event_types": types})
    assert answer.status_code == 422
    assert answer.json()["param"].startswith("event_types")


def test_an_owner_has_sixteen_endpoints_at_most(
    operator: TestClient, make_group: MakeGroup
) -> None:
    endpoints = [add_endpoint(operator, PUBLIC) for _ in range(16)]
    refused = operator.post("/v1/webhook-endpoints", json={"url": PUBLIC})
    assert refused.status_code == 409
    assert refused.json()["code"] == "too_many_webhook_endpoints"
    add_endpoint(make_group("teachers")[1], PUBLIC)  # another owner counts for itself
    assert operator.delete(_url(endpoints[0])).status_code == 200
    add_endpoint(operator, PUBLIC)


def test_a_post_sent_twice_makes_one_endpoint_one_rotation_one_test(
    operator: TestClient, state: AppState
) -> None:
    making, rotating, testing = ({"Idempotency-Key": key} for key in ("a", "b", "c"))
    made = [
        operator.post("/v1/webhook-endpoints", json={"url": PUBLIC}, headers=making).json()
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert count_rows(state, WebhookEndpointRow) == 1
    url = _url(made[0])
    rotated = [operator.post(f"{url}/rotate-key", headers=rotating).json() for _ in range(2)]
    assert rotated[0] == rotated[1] == operator.get(url).json()
    assert rotated[0]["public_keys"][1:] == made[0]["public_keys"]
    tested = [operator.post(f"{url}/test", headers=testing).json() for _ in range(2)]
    assert tested[0] == tested[1]
    assert count_rows(state, WebhookMessageRow) == 1


def test_after_a_rotation_both_keys_sign_for_a_day_and_then_the_new_one_alone(
    operator: TestClient, state: AppState, private: Receiver
) -> None:
    endpoint = add_endpoint(operator, private.url)
    (old,) = endpoint["public_keys"]
    new, still = operator.post(f"{_url(endpoint)}/rotate-key").json()["public_keys"]
    assert still == old != new
    deliverer = deliverer_to_private(state.database, state.vault)
    operator.post(f"{_url(endpoint)}/test")
    deliver_all(deliverer)
    first, second = private.arrived[0].headers["webhook-signature"].split(" ")
    assert is_signed(private.arrived[0], new, first)
    assert is_signed(private.arrived[0], old, second)
    assert not is_signed(private.arrived[0], old, first)
    with state.database.write() as session:  # a day later
        row = session.get_one(WebhookEndpointRow, endpoint["id"])
        row.previous_expires_at = row.created_at
    operator.post(f"{_url(endpoint)}/test")
    deliver_all(deliverer)
    assert is_signed(private.arrived[1], new)
    assert operator.get(_url(endpoint)).json()["public_keys"] == [new]


def test_a_delivered_message_replayed_arrives_again_under_its_id(
    operator: TestClient, state: AppState, private: Receiver
) -> None:
    endpoint = add_endpoint(operator, private.url)
    made = operator.post(f"{_url(endpoint)}/test").json()
    deliverer = deliverer_to_private(state.database, state.vault)
    assert deliver_all(deliverer) == 1
    (delivered,) = operator.get(f"{_url(endpoint)}/messages").json()["data"]
    assert (delivered["status"], delivered["last_status"]) == ("delivered", 204)
    assert delivered["delivered_at"] is not None
    assert delivered["attempts"] == 1
    replayed = operator.post(f"/v1/webhook-messages/{made['id']}/replay")
    assert replayed.status_code == 200
    assert (replayed.json()["status"], replayed.json()["attempts"]) == ("pending", 0)
    assert deliver_all(deliverer) == 1
    first, again = private.arrived
    assert first.id == again.id == made["id"]
    assert first.body == again.body


def test_a_disabled_endpoint_gets_nothing_and_what_waited_goes_out_once_it_is_enabled(
    operator: TestClient, state: AppState, private: Receiver, open_round: OpenRound
) -> None:
    endpoint = add_endpoint(operator, private.url)
    waiting = operator.post(f"{_url(endpoint)}/test").json()
    operator.patch(_url(endpoint), json={"status": "disabled"})
    deliverer = deliverer_to_private(state.database, state.vault)
    open_round()  # of this it is never told
    assert deliver_all(deliverer) == 0
    refused = [
        operator.post(f"{_url(endpoint)}/test"),
        operator.post(f"/v1/webhook-messages/{waiting['id']}/replay"),
    ]
    assert [answer.status_code for answer in refused] == [409, 409]
    assert refused[0].json()["code"] == "webhook_endpoint_disabled"
    operator.patch(_url(endpoint), json={"status": "enabled"})
    deliver_all(deliverer)
    assert private.ids == [waiting["id"]]


def test_a_deleted_endpoint_takes_its_messages_along(operator: TestClient, state: AppState) -> None:
    kept = add_endpoint(operator, PUBLIC)
    gone = add_endpoint(operator, PUBLIC)
    left = operator.post(f"{_url(kept)}/test").json()
    operator.post(f"{_url(gone)}/test")
    answer = operator.delete(_url(gone))
    assert answer.json() == {
        "object": "webhook_endpoint.deleted",
        "id": gone["id"],
        "deleted": True,
    }
    assert operator.get(_url(gone)).status_code == 404
    assert [row.id for row in messages(state.database)] == [left["id"]]


def _url(endpoint: dict[str, Any]) -> str:
    return f"/v1/webhook-endpoints/{endpoint['id']}"
