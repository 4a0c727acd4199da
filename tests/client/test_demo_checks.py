"""What the demo checks of a settled round: each broken promise is noticed, a kept one is not."""

from datetime import UTC, datetime
from typing import Any

import pytest

from api_schemas.ids import new_id
from api_schemas.ledger import Invoice, LedgerHead, Receipt, ReceiptBody
from api_schemas.outcomes import (
    FreshValuation,
    GroupOutcome,
    IncentiveCertificate,
    Outcome,
    WorldOutcome,
)
from api_schemas.rounds import Announcement, KLRegularizer, Round
from client.demo.checks import complaints
from client.receipts.files import digest_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
ROUND = new_id("rnd")
TEACHERS, GARDENERS = new_id("grp"), new_id("grp")
SIZES = {TEACHERS: 3, GARDENERS: 7}
PRICE = 1_000_000


def world(without: str | None, welfare: float, optimum: float) -> WorldOutcome:
    name = "grand" if without is None else f"without:{without}"
    return WorldOutcome(
        world=name,
        without_group_id=without,
        chosen=f"{name}@4",
        welfare_initial=1.0,
        welfare=welfare,
        welfare_optimum=optimum,
        optimality_gap=optimum - welfare,
        divergence=0.25,
        divergence_optimum=0.5,
        effective_samples_mean=10.0,
        effective_samples_minimum=5.0,
        low_support_prompts=0,
        support_ratio=0.1,
    )


def line(group_id: str, valuation: float, without: float, with_: float) -> GroupOutcome:
    payment = without - with_
    return GroupOutcome(
        group_id=group_id,
        size=SIZES[group_id],
        excluded=None,
        valuation_initial=0.25,
        valuation=valuation,
        others_welfare_without=without,
        others_welfare_with=with_,
        payment=payment,
        amount_micro_units=int(payment * PRICE),
        utility=SIZES[group_id] * valuation - payment,
        clipped_share=0.0,
    )


# Binary fractions, so that every figure is exact: 2.5 − 2.25 = 0.25 and 1.5 − 1.0 = 0.5.
GROUPS = [line(TEACHERS, 0.5, 2.5, 2.25), line(GARDENERS, 0.5, 1.5, 1.0)]
WORLDS = [world(None, 3.0, 3.5), world(TEACHERS, 2.5, 2.75), world(GARDENERS, 1.5, 1.75)]
FRESH = FreshValuation(
    samples=64,
    welfare_initial=1.0,
    welfare_initial_standard_error=0.25,
    welfare=2.0,
    welfare_standard_error=0.25,
    gain=1.0,
    gain_standard_error=0.25,
    divergence=0.25,
)
ANNOUNCEMENT = Announcement.model_validate(
    {
        "name": "A round",
        "base_model": "tiny-enumerable",
        "prompts_file_id": new_id("file"),
        "regularizer": {"coefficient": 1.0},
        "max_group_size": 10,
        "price_per_unit_micro_units": PRICE,
        "base_model_revision": DIGEST,
        "prompts_sha256": DIGEST,
    }
)
SETTLED = Round(
    id=ROUND,
    state="settled",
    announcement=ANNOUNCEMENT,
    announcement_digest=digest_of(ANNOUNCEMENT.model_dump(mode="json")),
    created_at=NOW,
)
OUTCOME = Outcome(
    round_id=ROUND,
    announcement_digest=SETTLED.announcement_digest,
    counterfactuals="retrain",
    payment_rule="affine_maximizer",
    regularizer=KLRegularizer(coefficient=1.0),
    value_on="pool",
    pool_prompts=2,
    pool_samples_per_prompt=32,
    price_per_unit_micro_units=PRICE,
    currency="EUR",
    worlds=WORLDS,
    groups=GROUPS,
    certificate=IncentiveCertificate(
        guarantee="in words", figures="measured", largest_gain=0.5, largest_gain_micro_units=500_000
    ),
    fresh=FRESH,
    delivered=WORLDS[0],
    warnings=[],
    pool_digest=DIGEST,
    adapter_digest=DIGEST,
)


def receipt_body(group: GroupOutcome, number: int) -> ReceiptBody:
    shared = {"size", "valuation", "others_welfare_without", "others_welfare_with", "payment"}
    return ReceiptBody(
        **group.model_dump(include=shared | {"group_id", "utility", "amount_micro_units"}),
        receipt_id=new_id("rcpt"),
        invoice_id=new_id("inv"),
        issued_at=NOW,
        round_id=ROUND,
        invoice_number=number,
        announcement_digest=SETTLED.announcement_digest,
        report_commitment=DIGEST,
        commitment_root=DIGEST,
        commitment_path=[],
        others_welfare_difference=group.payment,
        counterfactuals="retrain",
        payment_rule="affine_maximizer",
        regularizer=KLRegularizer(coefficient=1.0),
        value_on="pool",
        surcharge=None,
        divergence=0.25,
        price_per_unit_micro_units=PRICE,
        currency="EUR",
        pool_digest=DIGEST,
        adapter_digest=DIGEST,
        certificate_digest=DIGEST,
        code_version=None,
        ledger_head=LedgerHead(sequence=number, hash=DIGEST),
    )


def receipt(group: GroupOutcome, number: int) -> Receipt:
    body = receipt_body(group, number)
    return Receipt(
        id=body.receipt_id,
        invoice_id=body.invoice_id,
        body=body,
        body_digest=digest_of(body.model_dump(mode="json")),
        signature=None,
        created_at=NOW,
    )


def invoice(receipt: Receipt) -> Invoice:
    return Invoice(
        id=receipt.invoice_id,
        number=receipt.body.invoice_number,
        round_id=ROUND,
        group_id=receipt.body.group_id,
        receipt_id=receipt.id,
        status="open",
        amount_micro_units=receipt.body.amount_micro_units,
        amount_credited_micro_units=0,
        amount_paid_micro_units=0,
        amount_due_micro_units=receipt.body.amount_micro_units,
        currency="EUR",
        created_at=NOW,
        opened_at=NOW,
        ended_at=None,
    )


RECEIPTS = [receipt(group, number) for number, group in enumerate(GROUPS, start=1)]
INVOICES = [invoice(receipt) for receipt in RECEIPTS]


def found(**changed: Any) -> str:
    given: dict[str, Any] = {
        "round_": SETTLED,
        "sizes": SIZES,
        "outcome": OUTCOME,
        "invoices": INVOICES,
        "receipts": RECEIPTS,
        "least_gain_standard_errors": 2.0,
    }
    return "; ".join(complaints(**given | changed))


def with_group(**changes: Any) -> Outcome:
    return OUTCOME.model_copy(update={"groups": [GROUPS[0].model_copy(update=changes), GROUPS[1]]})


def with_world(index: int, **changes: Any) -> Outcome:
    worlds = list(WORLDS)
    worlds[index] = worlds[index].model_copy(update=changes)
    return OUTCOME.model_copy(update={"worlds": worlds})


def test_a_round_that_kept_every_promise_gets_no_complaint() -> None:
    assert found() == ""


@pytest.mark.parametrize(
    ("outcome", "complaint"),
    [
        (with_group(payment=0.5), "is not 2.5 − 2.25"),
        (with_group(utility=1.0), "is not 3·0.5 − 0.25"),
        (with_group(valuation=1.5, utility=4.25), "outside [0, 1]"),
        (with_group(amount_micro_units=250_001), "is not floor"),
        (with_group(excluded="its scores were not finite"), "was excluded: its scores"),
        (with_group(payment=None), "lacks a figure"),
        (with_group(size=4, utility=1.75), "not those that reported"),
        (
            with_group(others_welfare_without=5.0, payment=2.75, utility=-1.25),
            "utility -1.25 is negative",
        ),
        (
            with_group(others_welfare_without=1.75, payment=-0.5, utility=2.0),
            "below −0.25, the gap",
        ),
        (with_world(0, optimality_gap=0.25), "gap 0.25 is not 0.5"),
        (with_world(1, welfare=3.0, optimality_gap=-0.25), "exceeds the optimum"),
        (with_world(2, welfare=0.5, optimality_gap=1.25), "worse than π₀"),
        (with_world(0, welfare=3.25, optimality_gap=0.25), "the certificate's largest gain"),
        (with_world(1, effective_samples_minimum=0.5), "impossible"),
        (with_world(1, without_group_id=GARDENERS), "one without each group"),
        (OUTCOME.model_copy(update={"announcement_digest": DIGEST}), "names another announcement"),
        (OUTCOME.model_copy(update={"fresh": None}), "no valuation on fresh samples"),
    ],
)
def test_a_broken_promise_of_the_outcome_is_noticed(outcome: Outcome, complaint: str) -> None:
    assert complaint in found(outcome=outcome)


def test_a_gain_within_two_standard_errors_is_no_gain() -> None:
    fresh = FRESH.model_copy(update={"gain_standard_error": 0.75})
    outcome = OUTCOME.model_copy(update={"fresh": fresh})
    assert "below 2 standard errors" in found(outcome=outcome)
    assert found(outcome=outcome, least_gain_standard_errors=None) == ""


def test_a_missing_doubled_or_changed_invoice_is_noticed() -> None:
    assert "1 invoices for 2 groups" in found(invoices=INVOICES[:1], receipts=RECEIPTS[:1])
    assert "3 invoices for 2 groups" in found(invoices=[*INVOICES, INVOICES[0]])
    changed = INVOICES[0].model_copy(update={"amount_micro_units": 1})
    assert "invoice 1: its amount" in found(invoices=[changed, INVOICES[1]])


def test_a_receipt_that_was_changed_after_it_was_digested_is_noticed() -> None:
    body = RECEIPTS[0].body.model_copy(update={"valuation": 0.75})
    changed = RECEIPTS[0].model_copy(update={"body": body})
    assert "its body does not have the digest" in found(receipts=[changed, RECEIPTS[1]])


def test_an_announcement_that_was_changed_after_the_digest_is_noticed() -> None:
    announcement = ANNOUNCEMENT.model_copy(update={"price_per_unit_micro_units": 2})
    changed = SETTLED.model_copy(update={"announcement": announcement})
    assert "the announcement does not have the digest" in found(round_=changed)


def test_a_round_that_is_not_settled_is_noticed() -> None:
    assert "running, not settled" in found(round_=SETTLED.model_copy(update={"state": "running"}))
