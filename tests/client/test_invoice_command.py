"""`truthtune invoice …` and `signing-key …`: each command asks its route, and money only once."""

import json
from typing import Any

import pytest
from client_support import Answer, Script
from typer.testing import CliRunner

from api_schemas import examples
from client import Truthtune, cli

INVOICE = examples.INVOICE["id"]
URL = f"/v1/invoices/{INVOICE}"


def run(script: Script, answer: dict[str, Any], *arguments: str) -> Any:
    """The command's JSON; the service answers it with `answer`."""
    script.answers = [Answer(body=json.dumps(answer).encode())]
    options = ["--url", script.url, "--api-key", "tt_op_test"]
    done = CliRunner().invoke(cli.app, [*options, *arguments[:2], "--json", *arguments[2:]])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "path", "answer", "body"),
    [
        (["invoice", "open"], "/open", examples.INVOICE, None),
        (["invoice", "void"], "/void", examples.INVOICE, None),
        (["invoice", "write-off"], "/uncollectible", examples.INVOICE, None),
        (
            ["invoice", "pay", "--reference", "a transfer", "--", "-500000"],
            "/payments",
            examples.PAYMENT,
            {"amount_micro_units": -500_000, "reference": "a transfer"},
        ),
        (
            ["invoice", "credit", "--reason", "a mistake", "75000"],
            "/credit-notes",
            examples.CREDIT_NOTE,
            {"amount_micro_units": 75_000, "reason": "a mistake"},
        ),
    ],
)
def test_a_command_that_moves_money_carries_an_idempotency_key(
    script: Script, arguments: list[str], path: str, answer: Any, body: Any
) -> None:
    *options, amount = arguments[2:] or [None]
    words = [*arguments[:2], *options, INVOICE, *([amount] if amount else [])]
    assert run(script, answer, *words) == answer
    (asked,) = script.asked
    assert (asked.method, asked.path) == ("POST", URL + path)
    assert json.loads(asked.body or "null") == body
    assert len(asked.headers["idempotency-key"]) >= 32


@pytest.mark.parametrize(
    ("arguments", "path", "item"),
    [
        (["invoice", "payments", INVOICE], f"{URL}/payments", examples.PAYMENT),
        (["invoice", "credit-notes", INVOICE], f"{URL}/credit-notes", examples.CREDIT_NOTE),
        (["signing-key", "list"], "/v1/keys/signing", examples.SIGNING_KEY),
    ],
)
def test_a_list_shows_what_the_service_has(
    script: Script, arguments: list[str], path: str, item: dict[str, Any]
) -> None:
    ids = {"first_id": item["id"], "last_id": item["id"]}
    page = {"object": "list", "data": [item], "has_more": False} | ids
    assert run(script, page, *arguments) == [item]
    (asked,) = script.asked
    assert (asked.method, asked.path.partition("?")[0]) == ("GET", path)


def test_a_signing_key_is_rotated_once(script: Script) -> None:
    shown = run(script, examples.SIGNING_KEY, "signing-key", "rotate")
    assert shown == examples.SIGNING_KEY
    (asked,) = script.asked
    assert (asked.method, asked.path) == ("POST", "/v1/keys/signing/rotate")
    assert asked.headers["idempotency-key"]


def test_an_answer_that_got_lost_is_asked_for_again_with_the_same_key(
    script: Script, scripted: Truthtune
) -> None:
    body = json.dumps(examples.PAYMENT).encode()
    script.answers = [Answer(status=503), Answer(body=body)]
    made = scripted.invoices.pay(INVOICE, 100_000, "a transfer", idempotency_key="transfer-17")
    assert made.model_dump(mode="json") == examples.PAYMENT
    keys = [asked.headers["idempotency-key"] for asked in script.asked]
    assert keys == ["transfer-17"] * 2


def test_a_receipt_is_shown_with_its_signature(script: Script) -> None:
    receipt = examples.RECEIPT
    script.answers = [Answer(body=json.dumps(receipt).encode())]
    options = ["--url", script.url, "--api-key", "tt_op_test"]
    done = CliRunner().invoke(cli.app, [*options, "receipt", "show", receipt["id"]])
    assert receipt["signature"]["signature"] in done.stdout
    assert receipt["body_digest"] in done.stdout
