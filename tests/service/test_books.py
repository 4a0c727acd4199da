"""The ledger as its operator reads it: what it says is what was booked."""

from collections import Counter

from ledger_scenes import fill_ledger, past_the_guards
from sqlalchemy import text
from starlette.testclient import TestClient

from service.dependencies import AppState
from service.ledger import books


def test_an_empty_ledger_has_no_head(operator: TestClient) -> None:
    shown = operator.get("/v1/ledger").json()
    assert shown == {"object": "ledger", "head": None, "balances": []}
    assert operator.get("/v1/ledger/postings").json()["data"] == []


def test_balances_are_the_sums_of_the_postings_that_are_listed(
    state: AppState, operator: TestClient
) -> None:
    fill_ledger(state.database)
    shown = operator.get("/v1/ledger").json()
    postings, after = [], None
    while True:
        page = operator.get(
            "/v1/ledger/postings", params={"limit": 7} | ({"after": after} if after else {})
        ).json()
        postings += page["data"]
        if not page["has_more"]:
            break
        after = page["last_id"]
    assert len({line["id"] for line in postings}) == len(postings)
    sums: Counter[str] = Counter()
    for line in postings:
        sums[line["account"]] += line["amount_micro_units"]
    assert sums == {line["account"]: line["balance_micro_units"] for line in shown["balances"]}
    assert sum(line["balance_micro_units"] for line in shown["balances"]) == 0
    assert sum(line["postings"] for line in shown["balances"]) == len(postings)
    assert max(line["sequence"] for line in postings) == shown["head"]["sequence"]


def test_postings_of_one_account(state: AppState, operator: TestClient) -> None:
    fill_ledger(state.database)
    shown = operator.get("/v1/ledger/postings", params={"account": "operator:cash"}).json()["data"]
    assert {line["account"] for line in shown} == {"operator:cash"}
    assert {line["kind"] for line in shown} == {"payment.recorded"}
    refused = operator.get("/v1/ledger/postings", params={"account": "x' OR 1=1"})
    assert (refused.status_code, refused.json()["param"]) == (422, "account")


def test_a_head_that_was_changed_does_not_verify(state: AppState, operator: TestClient) -> None:
    fill_ledger(state.database)
    head = operator.get("/v1/ledger").json()["head"]
    assert head["is_signed"] is True
    with past_the_guards(state.database) as session:
        session.execute(
            text("UPDATE ledger_entries SET hash = :hash WHERE sequence = :sequence"),
            {"hash": "sha256:" + "0" * 64, "sequence": head["sequence"]},
        )
        changed = books.get_ledger(session).head
        assert changed is not None
        assert changed.is_signed is False
