"""Invoices and receipts over HTTP: each tenant sees its own, and a receipt can be checked."""

import pytest
from scenes import queue_job, settle_next
from starlette.testclient import TestClient
from support import MakeGroup

from api_schemas.ledger import ReceiptBody
from service.dependencies import AppState
from workers.artifacts import canonical_json, sha256_of


def test_each_group_sees_its_own_invoice_and_receipt(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils", "parents"))
    queue_job(state.database, sorted(members))
    settle_next(state)
    everything = operator.get("/v1/invoices").json()["data"]
    assert [invoice["number"] for invoice in everything] == [3, 2, 1]
    for group_id, client in members.items():
        (invoice,) = client.get("/v1/invoices").json()["data"]
        (receipt,) = client.get("/v1/receipts").json()["data"]
        assert invoice["group_id"] == group_id
        assert invoice in everything
        assert invoice["receipt_id"] == receipt["id"]
        assert receipt["invoice_id"] == invoice["id"]
        assert client.get(f"/v1/invoices/{invoice['id']}").json() == invoice
        assert client.get(f"/v1/receipts/{receipt['id']}").json() == receipt


def test_another_groups_invoice_and_receipt_are_not_found(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    teachers, _ = make_group("teachers")
    _, outsider = make_group("outsiders")
    queue_job(state.database, [teachers])
    settle_next(state)
    assert outsider.get("/v1/invoices").json()["data"] == []
    assert outsider.get("/v1/receipts").json()["data"] == []
    for kind in ("invoices", "receipts"):
        (one,) = operator.get(f"/v1/{kind}").json()["data"]
        assert operator.get(f"/v1/{kind}/{one['id']}").json() == one
        assert outsider.get(f"/v1/{kind}/{one['id']}").status_code == 404


def test_a_receipts_digest_is_that_of_its_body_and_its_arithmetic_holds(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    held = settle_next(state)
    for receipt in operator.get("/v1/receipts").json()["data"]:
        body = ReceiptBody.model_validate(receipt["body"])
        assert receipt["body_digest"] == sha256_of(canonical_json(receipt["body"]))
        assert body.others_welfare_without is not None
        assert body.others_welfare_with is not None
        assert body.payment == body.others_welfare_without - body.others_welfare_with
        assert body.utility == body.size * body.valuation - body.payment
        assert body.amount_micro_units == body.payment * body.price_per_unit_micro_units
        reported = {report.group_id: report.report_digest for report in held.job.reports}
        assert body.report_digest == reported[body.group_id]
        assert body.announcement_digest == held.job.announcement_digest


@pytest.mark.parametrize(("members", "shown"), [(2, False), (3, True)])
def test_a_receipt_shows_the_others_welfare_only_where_there_are_three_groups(
    operator: TestClient, make_group: MakeGroup, state: AppState, members: int, shown: bool
) -> None:
    """With two, it would be what the one other reported. An excluded group does not count."""
    ids = sorted(make_group(f"group {number}")[0] for number in range(members + 1))
    queue_job(state.database, ids)
    settle_next(state, excluded={ids[0]: "sample 3 has no score"})
    for receipt in operator.get("/v1/receipts").json()["data"]:
        body = receipt["body"]
        assert (body["others_welfare_without"] is not None) is shown
        assert (body["others_welfare_with"] is not None) is shown
        assert body["payment"] == 0.5


def test_numbers_go_on_from_one_round_to_the_next(operator: TestClient, state: AppState) -> None:
    for _ in range(2):
        queue_job(state.database)
        settle_next(state)
    numbers = [invoice["number"] for invoice in operator.get("/v1/invoices").json()["data"]]
    assert numbers == [6, 5, 4, 3, 2, 1]
