"""Receivers check what arrives without the service; owners manage their endpoints with it."""

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from client_support import RunningService
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api_schemas.errors import Conflict, InvalidInput, NotFound
from api_schemas.webhooks import EVENT_TYPES, WebhookEndpointUpdate
from client import Truthtune
from client.webhooks import NotGenuine, Received, verify

ROOT = Path(__file__).parent.parent.parent
URL = "https://receiver.example/hook"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
NOW = 1_900_000_000
ID = "msg_" + "0" * 26
BODY = json.dumps(
    {"type": "round.opened", "timestamp": "2030-03-17T17:46:40Z", "data": {"state": "open"}}
).encode()


def public(key: Ed25519PrivateKey) -> str:
    return "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def signature(key: Ed25519PrivateKey, content: bytes = f"{ID}.{NOW}.".encode() + BODY) -> str:
    return "v1a," + base64.b64encode(key.sign(content)).decode()


def headers(**changes: str | None) -> dict[str, str]:
    whole = {"id": ID, "timestamp": str(NOW), "signature": signature(KEY)} | changes
    return {f"webhook-{name}": value for name, value in whole.items() if value is not None}


def check(body: bytes = BODY, **changes: str | None) -> Received:
    return verify(body, headers(**changes), [public(KEY)], now=NOW + 10)


def test_a_genuine_message_is_read() -> None:
    received = check()
    assert received.id == ID
    assert received.payload.type == "round.opened"
    assert received.payload.timestamp.timestamp() == NOW
    assert received.payload.data == {"state": "open"}


def test_header_names_may_be_of_any_case() -> None:
    shouted = {name.title(): value for name, value in headers().items()}
    assert verify(BODY, shouted, [public(KEY)], now=NOW).id == ID


def test_one_of_several_keys_and_one_of_several_signatures_is_enough() -> None:
    both = f"v1,c2hhcmVk {signature(OTHER)} {signature(KEY)}"
    for keys in ([public(KEY)], [public(OTHER)], [public(OTHER), public(KEY)]):
        assert verify(BODY, headers(signature=both), keys, now=NOW).id == ID


def test_the_specifications_own_kind_of_example_is_accepted() -> None:
    """A body that is no canonical JSON, with more fields than this client knows."""
    body = b'{ "type": "new.type",\n "timestamp": "2030-03-17T17:46:40Z", "data": {}, "more": 1 }'
    signed = signature(KEY, f"{ID}.{NOW}.".encode() + body)
    assert check(body, signature=signed).payload.type == "new.type"


@pytest.mark.parametrize("name", ["id", "timestamp", "signature"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_header_is_named(name: str, value: str | None) -> None:
    with pytest.raises(NotGenuine, match=f"webhook-{name} is missing") as caught:
        check(**{name: value})
    assert caught.value.code == "webhook_header_missing"


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "١٢", "9" * 30])
def test_a_timestamp_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(NotGenuine, match="Unix seconds"):
        check(timestamp=text)


def test_any_flipped_bit_of_what_is_signed_is_caught() -> None:
    for position in range(len(BODY) * 8):
        changed = bytearray(BODY)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(NotGenuine) as caught:
            check(bytes(changed))
        assert caught.value.code == "webhook_signature_wrong"
    for changes in ({"id": "msg_" + "1" * 26}, {"timestamp": str(NOW + 1)}):
        with pytest.raises(NotGenuine, match="no signature fits"):
            check(**changes)


def test_any_flipped_bit_of_the_signature_is_caught() -> None:
    raw = base64.b64decode(signature(KEY).removeprefix("v1a,"))
    for position in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(NotGenuine, match="no signature fits"):
            check(signature="v1a," + base64.b64encode(changed).decode())


@pytest.mark.parametrize("text", ["v1,AAAA", "nonsense", "v1a", " "])
def test_a_header_without_a_signature_of_ours_is_refused(text: str) -> None:
    with pytest.raises(NotGenuine):
        check(signature=text)


@pytest.mark.parametrize("text", ["v1a,", "v1a,!!", "v1a,AAAA", f"v1a,{'A' * 10_000}"])
def test_a_malformed_signature_is_refused(text: str) -> None:
    with pytest.raises(NotGenuine, match="no signature fits any of the 1 public keys"):
        check(signature=text)


def test_a_message_signed_by_another_key_is_refused() -> None:
    with pytest.raises(NotGenuine, match="no signature fits"):
        check(signature=signature(OTHER))


@pytest.mark.parametrize(
    ("now", "code"), [(NOW + 301, "webhook_too_old"), (NOW - 301, "webhook_too_new")]
)
def test_a_message_of_another_time_is_refused(now: float, code: str) -> None:
    with pytest.raises(NotGenuine, match="at most 300 s") as caught:
        verify(BODY, headers(), [public(KEY)], now=now)
    assert caught.value.code == code
    assert verify(BODY, headers(), [public(KEY)], tolerance_seconds=301, now=now).id == ID


def test_the_clock_is_the_systems_by_default() -> None:
    with pytest.raises(NotGenuine, match=r"ahead|old"):
        verify(BODY, headers(), [public(KEY)])
    sent = int(time.time())
    signed = signature(KEY, f"{ID}.{sent}.".encode() + BODY)
    given = headers(timestamp=str(sent), signature=signed)
    assert verify(BODY, given, [public(KEY)]).id == ID


def test_a_signed_body_that_is_no_webhook_is_refused() -> None:
    for body in (b"", b"[]", b'{"type": "a"}', b"\xff"):
        signed = signature(KEY, f"{ID}.{NOW}.".encode() + body)
        with pytest.raises(NotGenuine, match="no webhook"):
            check(body, signature=signed)


@pytest.mark.parametrize("key", ["", "whpk_", "whsec_AAAA", "whpk_AAAA", "whpk_" + "!" * 44])
def test_a_malformed_public_key_is_named(key: str) -> None:
    with pytest.raises(InvalidInput, match="32 bytes in base 64") as caught:
        verify(BODY, headers(), [key], now=NOW)
    assert caught.value.param == "public_keys"


def test_without_public_keys_nothing_is_genuine() -> None:
    with pytest.raises(NotGenuine, match="any of the 0 public keys"):
        verify(BODY, headers(), [], now=NOW)


def test_an_owner_manages_its_endpoints(group: Truthtune, operator: Truthtune) -> None:
    hooks = group.webhook_endpoints
    made = hooks.create(URL)
    assert made.event_types == list(EVENT_TYPES)
    assert list(hooks.list()) == [made]
    assert hooks.get(made.id) == made
    changed = hooks.update(made.id, WebhookEndpointUpdate(event_types=["round.settled"]))
    assert (changed.url, changed.event_types) == (URL, ["round.settled"])
    assert hooks.rotate_key(made.id).public_keys[1:] == made.public_keys
    sent = hooks.test(made.id)
    assert (sent.payload.type, sent.status) == ("webhook.test", "pending")
    assert [message.id for message in hooks.messages(made.id)] == [sent.id]
    assert hooks.replay(sent.id).id == sent.id
    with pytest.raises(NotFound):
        operator.webhook_endpoints.get(made.id)
    hooks.update(made.id, WebhookEndpointUpdate(status="disabled"))
    with pytest.raises(Conflict, match="is disabled"):
        hooks.test(made.id)
    assert hooks.delete(made.id).deleted
    assert list(hooks.list()) == []


def test_the_command_line_manages_endpoints(service: RunningService, group: Truthtune) -> None:
    environment = os.environ | {
        "TRUTHTUNE_URL": service.url,
        "TRUTHTUNE_API_KEY": group._connection._transport.http.headers["authorization"].split()[1],
    }

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "client.cli", "webhook", *arguments, "--json"]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    made = run("create", URL, "--event", "round.opened", "--event", "invoice.paid")
    assert made["event_types"] == ["round.opened", "invoice.paid"]
    assert run("list") == [made]
    assert run("show", made["id"]) == made
    assert len(run("rotate-key", made["id"])["public_keys"]) == 2
    message = run("test", made["id"])
    assert [each["id"] for each in run("messages", made["id"])] == [message["id"]]
    assert run("replay", message["id"])["id"] == message["id"]
    assert run("update", made["id"], "--status", "disabled")["status"] == "disabled"
    assert run("delete", made["id"])["deleted"] is True


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["create", "http//nowhere"], "url"),
        (["create", URL, "--event", "round.reported"], "round.reported"),
        (["update", "whe_" + "0" * 26, "--status", "asleep"], "asleep"),
    ],
)
def test_the_command_line_refuses_in_one_line(arguments: list[str], reason: str) -> None:
    command = [sys.executable, "-m", "client.cli", "--api-key", "tt_op_x", "webhook", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert reason in line
