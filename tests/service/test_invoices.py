"""An invoice's life over HTTP: what may become of it, what that posts, and who sees it."""

from typing import Any

import pytest
from scenes import queue_job, settle_next, settled_round
from sqlalchemy import func, select
from starlette.testclient import TestClient
from support import MakeGroup

from service.dependencies import AppState
from service.ledger import verification
from service.ledger.balances import BAD_DEBT, CASH, REVENUE
from service.tables import AuditRow, LedgerEntryRow, PostingRow

AMOUNT = 500_000
DEEDS: dict[str, dict[str, Any] | None] = {
    "open": None,
    "void": None,
    "uncollectible": None,
    "payments": {"amount_micro_units": AMOUNT, "reference": "a transfer"},
    "credit-notes": {"amount_micro_units": AMOUNT, "reason": "a mistake"},
}


def act(client: TestClient, url: str, deed: str, **body: Any) -> dict[str, Any]:
    """The answer to a deed that is allowed."""
    asked = (DEEDS[deed] or {}) | body
    answer = client.post(f"{url}/{deed}", json=asked or None)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def pay(client: TestClient, url: str, amount: int) -> None:
    act(client, url, "payments", amount_micro_units=amount)


def credit(client: TestClient, url: str, amount: int) -> None:
    act(client, url, "credit-notes", amount_micro_units=amount)


@pytest.fixture
def group(make_group: MakeGroup) -> tuple[str, TestClient]:
    return make_group("teachers")


def make_invoice(
    state: AppState, operator: TestClient, group_id: str, payment: float = 0.5, **announced: Any
) -> str:
    """The path of the one invoice of a new settled round."""
    queue_job(state.database, [group_id], **announced)
    settle_next(state, {group_id: payment})
    return f"/v1/invoices/{operator.get('/v1/invoices').json()['data'][0]['id']}"


@pytest.fixture
def opened(state: AppState, operator: TestClient, group: tuple[str, TestClient]) -> str:
    return make_invoice(state, operator, group[0])


def accounts(state: AppState, group_id: str) -> list[int]:
    """The balances of what the group owes, of revenue, cash and bad debt; the ledger is whole."""
    with state.database.read() as session:
        assert list(verification.faults(session)) == []
    with state.database.read() as session:
        total = func.sum(PostingRow.amount_micro_units)
        rows = session.execute(select(PostingRow.account, total).group_by(PostingRow.account))
        found = {account: int(amount) for account, amount in rows}
    names = (f"receivable:{group_id}", REVENUE, CASH, BAD_DEBT)
    assert set(found) <= set(names)
    return [found.get(name, 0) for name in names]


def state_of(client: TestClient, url: str) -> tuple[str, int, int, int]:
    """Status, and what is credited, paid and due."""
    shown = client.get(url).json()
    names = ("amount_credited", "amount_paid", "amount_due")
    return shown["status"], *(shown[f"{name}_micro_units"] for name in names)  # type: ignore[return-value]


def test_the_list_of_one_round_holds_its_invoices_and_a_group_finds_its_own(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    groups = [make_group(name) for name in ("teachers", "hosts")]
    rounds = [settled_round(state, [id_ for id_, _ in groups]) for _ in range(2)]
    for round_id in rounds:
        of_round = {"round_id": round_id}
        listed = operator.get("/v1/invoices", params=of_round).raise_for_status().json()["data"]
        assert [invoice["round_id"] for invoice in listed] == [round_id] * 2
        (own,) = groups[0][1].get("/v1/invoices", params=of_round).json()["data"]
        assert (own["round_id"], own["group_id"]) == (round_id, groups[0][0])
    none = operator.get("/v1/invoices", params={"round_id": "rnd_" + "0" * 26})
    assert none.json()["data"] == []
    assert operator.get("/v1/invoices", params={"round_id": "spring"}).status_code == 422


def test_a_draft_is_the_operators_alone_until_it_is_opened(
    state: AppState, operator: TestClient, group: tuple[str, TestClient]
) -> None:
    group_id, member = group
    url = make_invoice(state, operator, group_id, invoicing="manual")
    draft = operator.get(url).json()
    nothing = ("number", "receipt_id", "opened_at", "ended_at")
    assert [draft[name] for name in ("status", *nothing)] == ["draft", None, None, None, None]
    assert accounts(state, group_id) == [0, 0, 0, 0]
    for path in ("", "/payments", "/credit-notes"):
        assert member.get(url + path).status_code == 404
    assert member.get("/v1/invoices").json()["data"] == []
    opened = act(operator, url, "open")
    assert (opened["status"], opened["number"]) == ("open", 1)
    assert member.get(url).json() == opened
    receipt = member.get(f"/v1/receipts/{opened['receipt_id']}").json()
    assert receipt["body"]["ledger_head"]["sequence"] == 1
    assert receipt["body"]["issued_at"] == opened["opened_at"]
    assert accounts(state, group_id) == [AMOUNT, -AMOUNT, 0, 0]


def test_a_voided_draft_never_gets_a_number_and_is_never_shown(
    state: AppState, operator: TestClient, group: tuple[str, TestClient]
) -> None:
    group_id, member = group
    url = make_invoice(state, operator, group_id, invoicing="manual")
    voided = act(operator, url, "void")
    assert (voided["status"], voided["number"]) == ("void", None)
    assert member.get(url).status_code == 404
    assert accounts(state, group_id) == [0, 0, 0, 0]
    make_invoice(state, operator, group_id)
    assert operator.get("/v1/invoices").json()["data"][0]["number"] == 1


def test_a_draft_of_nothing_is_paid_when_it_is_opened(
    state: AppState, operator: TestClient, group: tuple[str, TestClient]
) -> None:
    url = make_invoice(state, operator, group[0], 0.0, invoicing="manual")
    opened = act(operator, url, "open")
    assert (opened["status"], opened["number"]) == ("paid", 1)
    assert opened["ended_at"] == opened["opened_at"]
    assert accounts(state, group[0]) == [0, 0, 0, 0]


def test_an_invoice_is_paid_once_nothing_is_due(
    state: AppState, operator: TestClient, group: tuple[str, TestClient], opened: str
) -> None:
    pay(operator, opened, 200_000)
    assert state_of(operator, opened) == ("open", 0, 200_000, 300_000)
    assert accounts(state, group[0]) == [300_000, -AMOUNT, 200_000, 0]
    pay(operator, opened, 300_000)
    assert state_of(operator, opened) == ("paid", 0, AMOUNT, 0)
    assert operator.get(opened).json()["ended_at"] is not None
    assert accounts(state, group[0]) == [0, -AMOUNT, AMOUNT, 0]
    listed = group[1].get(f"{opened}/payments").json()["data"]
    assert [each["amount_micro_units"] for each in listed] == [300_000, 200_000]
    assert listed[0]["reference"] == "a transfer"


def test_what_the_operator_owes_is_paid_with_negative_amounts(
    state: AppState, operator: TestClient, group: tuple[str, TestClient]
) -> None:
    url = make_invoice(state, operator, group[0], -0.5)
    assert operator.post(f"{url}/payments", json=DEEDS["payments"]).status_code == 422
    refused = operator.post(f"{url}/uncollectible")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_receivable")
    pay(operator, url, -AMOUNT)
    assert state_of(operator, url) == ("paid", 0, -AMOUNT, 0)
    assert accounts(state, group[0]) == [0, AMOUNT, -AMOUNT, 0]


def test_voiding_reverses_what_is_due_and_leaves_what_was_paid(
    state: AppState, operator: TestClient, group: tuple[str, TestClient], opened: str
) -> None:
    pay(operator, opened, 200_000)
    act(operator, opened, "void")
    assert state_of(operator, opened) == ("void", 0, 200_000, 0)
    assert accounts(state, group[0]) == [0, -200_000, 200_000, 0]


def test_bad_debt_may_still_be_paid(
    state: AppState, operator: TestClient, group: tuple[str, TestClient], opened: str
) -> None:
    pay(operator, opened, 100_000)
    act(operator, opened, "uncollectible")
    assert state_of(operator, opened) == ("uncollectible", 0, 100_000, 400_000)
    assert accounts(state, group[0]) == [0, -AMOUNT, 100_000, 400_000]
    pay(operator, opened, 150_000)
    assert accounts(state, group[0]) == [0, -AMOUNT, 250_000, 250_000]
    pay(operator, opened, 250_000)
    assert state_of(operator, opened) == ("paid", 0, AMOUNT, 0)
    assert accounts(state, group[0]) == [0, -AMOUNT, AMOUNT, 0]


def test_a_credit_note_takes_from_what_is_due_and_then_from_what_was_paid(
    state: AppState, operator: TestClient, group: tuple[str, TestClient], opened: str
) -> None:
    pay(operator, opened, 300_000)
    credit(operator, opened, 50_000)
    assert state_of(operator, opened) == ("open", 50_000, 300_000, 150_000)
    credit(operator, opened, 250_000)  # 100 000 of it were paid and are owed back
    assert state_of(operator, opened) == ("paid", 300_000, 300_000, -100_000)
    assert accounts(state, group[0]) == [-100_000, -200_000, 300_000, 0]
    pay(operator, opened, -100_000)
    assert state_of(operator, opened) == ("paid", 300_000, 200_000, 0)
    assert accounts(state, group[0]) == [0, -200_000, 200_000, 0]
    listed = group[1].get(f"{opened}/credit-notes").json()["data"]
    assert [each["number"] for each in listed] == [2, 1]


def test_a_credit_note_on_bad_debt_takes_from_that_first(
    state: AppState, operator: TestClient, group: tuple[str, TestClient], opened: str
) -> None:
    pay(operator, opened, 400_000)
    act(operator, opened, "uncollectible")
    credit(operator, opened, 40_000)
    assert accounts(state, group[0]) == [0, -460_000, 400_000, 60_000]
    credit(operator, opened, 100_000)
    assert state_of(operator, opened) == ("paid", 140_000, 400_000, -40_000)
    assert accounts(state, group[0]) == [-40_000, -360_000, 400_000, 0]


def test_credit_notes_number_without_gaps_and_apart_from_invoices(
    state: AppState, operator: TestClient, group: tuple[str, TestClient]
) -> None:
    urls = [make_invoice(state, operator, group[0]) for _ in range(2)]
    for url in (urls[1], urls[0], urls[1]):
        refused = act_unsafely(operator, url, "credit-notes", amount_micro_units=AMOUNT + 1)
        assert refused == 422
        credit(operator, url, 1000)
    numbers = [
        [each["number"] for each in operator.get(f"{url}/credit-notes").json()["data"]]
        for url in urls
    ]
    assert numbers == [[2], [3, 1]]


def act_unsafely(client: TestClient, url: str, deed: str, **body: Any) -> int:
    return client.post(f"{url}/{deed}", json=(DEEDS[deed] or {}) | body).status_code


@pytest.mark.parametrize("amount", [0, -1, AMOUNT + 1, 2**53])
@pytest.mark.parametrize("deed", ["payments", "credit-notes"])
def test_an_amount_beyond_what_is_due_is_refused_and_changes_nothing(
    state: AppState,
    operator: TestClient,
    group: tuple[str, TestClient],
    opened: str,
    deed: str,
    amount: int,
) -> None:
    body = (DEEDS[deed] or {}) | {"amount_micro_units": amount}
    refused = operator.post(f"{opened}/{deed}", json=body)
    assert (refused.status_code, refused.json()["param"]) == (422, "amount_micro_units")
    assert str(amount) in refused.json()["detail"]
    assert accounts(state, group[0]) == [AMOUNT, -AMOUNT, 0, 0]


ALLOWED = {
    "draft": {"open", "void"},
    "open": {"void", "uncollectible", "payments", "credit-notes"},
    "uncollectible": {"payments", "credit-notes"},
    "paid": {"credit-notes"},
    "void": set[str](),
}


def test_each_status_allows_its_own_deeds_and_a_conflict_names_it(
    state: AppState, operator: TestClient, group: tuple[str, TestClient]
) -> None:
    for status, allowed in ALLOWED.items():
        for deed, body in DEEDS.items():
            url = _invoice_in(status, state, operator, group[0])
            answer = operator.post(f"{url}/{deed}", json=body)
            if deed in allowed:
                assert answer.status_code in (200, 201), (status, deed, answer.text)
            else:
                assert answer.status_code == 409, (status, deed, answer.text)
                assert status in answer.json()["detail"]
                assert answer.json()["code"] in ("illegal_transition", "nothing_due")
    assert sum(accounts(state, group[0])) == 0


def _invoice_in(status: str, state: AppState, operator: TestClient, group_id: str) -> str:
    manual = "manual" if status == "draft" else "automatic"
    url = make_invoice(state, operator, group_id, invoicing=manual)
    ways = {"void": "void", "uncollectible": "uncollectible", "paid": "payments"}
    if status in ways:
        act(operator, url, ways[status])
    assert operator.get(url).json()["status"] == status
    return url


@pytest.mark.parametrize("deed", DEEDS)
def test_money_is_moved_by_the_operator_alone(
    group: tuple[str, TestClient], opened: str, deed: str
) -> None:
    assert group[1].post(f"{opened}/{deed}", json=DEEDS[deed]).status_code == 403


@pytest.mark.parametrize("deed", DEEDS)
def test_an_invoice_that_is_not_there_is_not_found(operator: TestClient, deed: str) -> None:
    url = f"/v1/invoices/inv_{'0' * 26}"
    assert operator.post(f"{url}/{deed}", json=DEEDS[deed]).status_code == 404


def test_payments_and_credit_notes_are_the_operators_and_the_invoices_groups(
    make_group: MakeGroup, operator: TestClient, opened: str
) -> None:
    pay(operator, opened, 1000)
    credit(operator, opened, 1000)
    _, outsider = make_group("outsiders")
    for kind in ("payments", "credit-notes"):
        assert len(operator.get(f"{opened}/{kind}").json()["data"]) == 1
        assert outsider.get(f"{opened}/{kind}").status_code == 404


def test_the_same_idempotency_key_moves_money_once(
    state: AppState, operator: TestClient, group: tuple[str, TestClient], opened: str
) -> None:
    body = {"amount_micro_units": 100_000, "reference": "a transfer"}
    headers = {"Idempotency-Key": "transfer-17"}
    answers = [operator.post(f"{opened}/payments", json=body, headers=headers) for _ in range(3)]
    assert len({answer.text for answer in answers}) == 1
    assert accounts(state, group[0]) == [400_000, -AMOUNT, 100_000, 0]
    other = operator.post(
        f"{opened}/payments", json=body | {"amount_micro_units": 1}, headers=headers
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_every_deed_is_in_the_audit_log(
    state: AppState, operator: TestClient, group: tuple[str, TestClient]
) -> None:
    url = make_invoice(state, operator, group[0], invoicing="manual")
    act(operator, url, "open")
    pay(operator, url, 1)
    credit(operator, url, 1)
    act(operator, url, "uncollectible")
    with state.database.read() as session:
        logged = select(AuditRow.action).where(AuditRow.subject == url.rpartition("/")[2])
        actions = session.scalars(logged.order_by(AuditRow.id)).all()
    assert sorted(actions) == [
        "invoice.credited",
        "invoice.opened",
        "invoice.payment_recorded",
        "invoice.written_off",
    ]
    with state.database.read() as session:
        assert session.scalar(select(func.count()).select_from(LedgerEntryRow)) == 4
