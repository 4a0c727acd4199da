"""Receipts: what a group needs to check its payment, with a digest of exactly that."""

from datetime import datetime

from api_schemas.ids import new_id
from api_schemas.jobs import ReportInput
from api_schemas.ledger import ReceiptBody
from api_schemas.outcomes import GroupOutcome, Outcome
from service.outcomes.repository import FEWEST_GROUPS, takes_part
from service.tables import InvoiceRow, ReceiptRow
from workers.artifacts import canonical_json, sha256_of


def make_receipt(
    outcome: Outcome, group: GroupOutcome, report: ReportInput, invoice: InvoiceRow, now: datetime
) -> ReceiptRow:
    body = _body(outcome, group, report, invoice).model_dump(mode="json")
    return ReceiptRow(
        id=new_id("rcpt"),
        invoice_id=invoice.id,
        group_id=group.group_id,
        body=body,
        body_digest=sha256_of(canonical_json(body)),
        created_at=now,
    )


def _body(
    outcome: Outcome, group: GroupOutcome, report: ReportInput, invoice: InvoiceRow
) -> ReceiptBody:
    shows_others = len(takes_part(outcome.groups)) >= FEWEST_GROUPS
    return ReceiptBody.model_validate(
        {
            "round_id": outcome.round_id,
            "group_id": group.group_id,
            "invoice_number": invoice.number,
            "announcement_digest": outcome.announcement_digest,
            "report_digest": report.report_digest,
            "counterfactuals": outcome.counterfactuals,
            "payment_rule": outcome.payment_rule,
            "regularizer": outcome.regularizer,
            "value_on": outcome.value_on,
            "size": group.size,
            "valuation": group.valuation,
            "others_welfare_without": group.others_welfare_without if shows_others else None,
            "others_welfare_with": group.others_welfare_with if shows_others else None,
            "surcharge": group.surcharge,
            "payment": group.payment,
            "utility": group.utility,
            "divergence": _grand_divergence(outcome),
            "price_per_unit_micro_units": outcome.price_per_unit_micro_units,
            "amount_micro_units": invoice.amount_micro_units,
            "currency": invoice.currency,
            "pool_digest": outcome.pool_digest,
            "adapter_digest": outcome.adapter_digest,
        }
    )


def _grand_divergence(outcome: Outcome) -> float:
    return next(world.divergence for world in outcome.worlds if world.without_group_id is None)
