"""Invoices and receipts over HTTP: each tenant sees its own, and a receipt can be checked."""

import pytest
from scenes import claim, queue_job, settle, settle_next, valued
from sqlalchemy import select, update
from starlette.testclient import TestClient
from support import MakeGroup

from api_schemas.commitments import root_of_path
from api_schemas.ids import new_id
from api_schemas.ledger import ReceiptBody
from service.database import database_now
from service.dependencies import AppState
from service.signing import is_signed
from service.tables import IncentiveAuditRow, JobRow, LedgerEntryRow, ReportRow, RoundRow
from service.vault import DamagedSeal
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


def test_a_receipts_arithmetic_and_inclusion_hold(operator: TestClient, state: AppState) -> None:
    queue_job(state.database)
    held = settle_next(state)
    round_ = operator.get(f"/v1/rounds/{held.job.round_id}").json()
    for receipt in operator.get("/v1/receipts").json()["data"]:
        body = ReceiptBody.model_validate(receipt["body"])
        assert body.others_welfare_without is not None
        assert body.others_welfare_with is not None
        difference = body.others_welfare_without - body.others_welfare_with
        assert body.payment == body.others_welfare_difference == difference
        assert body.utility == body.size * body.valuation - body.payment
        assert body.amount_micro_units == body.payment * body.price_per_unit_micro_units
        assert body.announcement_digest == held.job.announcement_digest
        assert body.commitment_root == round_["commitment_root"]
        assert root_of_path(body.report_commitment, body.commitment_path) == body.commitment_root


def test_a_receipt_names_its_groups_own_commitment_and_certificate(
    make_group: MakeGroup, operator: TestClient, state: AppState
) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils", "parents"))
    queue_job(state.database, sorted(members))
    round_id = settle_next(state).job.round_id
    _add_finished_audit(state, round_id)  # audits come later, and leave the digest true
    for client in members.values():
        (receipt,) = client.get("/v1/receipts").json()["data"]
        report = client.get(f"/v1/rounds/{round_id}/report").json()
        assert receipt["body"]["report_commitment"] == report["commitment"]
        certificate = client.get(f"/v1/rounds/{round_id}/certificate").json()
        assert certificate["audited"] is not None
        shown = sha256_of(canonical_json(certificate | {"audited": None}))
        assert receipt["body"]["certificate_digest"] == shown


def test_a_receipt_is_signed_and_one_changed_byte_breaks_it(
    client: TestClient, operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    settle_next(state)
    (key,) = client.get("/v1/keys/signing").json()["data"]
    for receipt in operator.get("/v1/receipts").json()["data"]:
        assert receipt["body_digest"] == sha256_of(canonical_json(receipt["body"]))
        assert receipt["signature"]["key_id"] == key["id"]
        signature = receipt["signature"]["signature"]
        assert is_signed(receipt["body"], signature, key["public_key"])
        changed = receipt["body"] | {"amount_micro_units": 500_001}
        assert not is_signed(changed, signature, key["public_key"])


def test_a_receipt_holds_the_ledgers_head_that_its_invoice_made(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    with state.database.read() as session:
        groups = session.scalars(select(ReportRow.group_id).order_by(ReportRow.group_id)).all()
    settle_next(state, {groups[0]: 0.0, groups[2]: 0.0})
    receipts = operator.get("/v1/receipts").json()["data"]
    heads = {each["body"]["group_id"]: each["body"]["ledger_head"] for each in receipts}
    with state.database.read() as session:
        (entry,) = session.scalars(select(LedgerEntryRow)).all()
    own = {"sequence": 1, "hash": entry.hash}
    # The first, of 0, is from before anything was posted; the third from after.
    assert [heads[group] for group in groups] == [None, own, own]


def test_reports_that_are_not_those_of_the_close_are_not_settled(state: AppState) -> None:
    queue_job(state.database)
    held = claim(state.database)
    with state.database.write() as session:
        session.execute(update(RoundRow).values(commitment_root="sha256:" + "0" * 64))
    with pytest.raises(DamagedSeal, match="not those of its root"):
        settle(state.database, held, valued(held.job))


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
        assert body["others_welfare_difference"] == body["payment"] == 0.5


def test_numbers_go_on_from_one_round_to_the_next(operator: TestClient, state: AppState) -> None:
    for _ in range(2):
        queue_job(state.database)
        settle_next(state)
    numbers = [invoice["number"] for invoice in operator.get("/v1/invoices").json()["data"]]
    assert numbers == [6, 5, 4, 3, 2, 1]


def _add_finished_audit(state: AppState, round_id: str) -> None:
    with state.database.write() as session:
        job_id = session.scalars(select(JobRow.id).where(JobRow.round_id == round_id)).one()
        audit = IncentiveAuditRow(
            id=new_id("aud"),
            round_id=round_id,
            job_id=job_id,
            settings={},
            result_digest="sha256:" + "0" * 64,
            largest_gain=0.5,
            created_at=database_now(session),
        )
        session.add(audit)
