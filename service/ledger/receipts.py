"""Receipts: what a group needs to check its payment, signed."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.certificates import RoundDigests
from api_schemas.commitments import PathStep
from api_schemas.ids import new_id
from api_schemas.ledger import LedgerHead, ReceiptBody
from api_schemas.outcomes import GroupOutcome, Outcome
from service.auth import Principal
from service.outcomes.certificates import certificate_of, digests_of
from service.outcomes.repository import FEWEST_GROUPS, as_seen_by, takes_part
from service.reports.repository import inclusion
from service.signing import sign
from service.tables import InvoiceRow, OutcomeRow, ReceiptRow, RoundRow
from service.vault import Vault
from workers.artifacts import canonical_json, sha256_of


@dataclass(frozen=True)
class SettledRound:
    """What the receipts of a round are made from."""

    outcome: Outcome
    code_version: str | None
    commitment_root: str
    commitments: dict[str, tuple[str, list[PathStep]]]
    digests: RoundDigests


def read_settled_round(session: Session, round_id: str) -> SettledRound:
    """Raises DamagedSeal unless the round's reports are those of its commitment root."""
    session.flush()
    row = session.get_one(OutcomeRow, round_id)
    root = session.get_one(RoundRow, round_id).commitment_root
    commitments = inclusion(session, round_id)
    assert root is not None, "inclusion has seen to it"
    outcome = Outcome.model_validate(row.payload)
    any_group = Principal(key_id="", scope="group", group_id=next(iter(commitments)))
    return SettledRound(
        outcome=outcome,
        code_version=row.code_version,
        commitment_root=root,
        commitments=commitments,
        digests=digests_of(session, any_group, outcome),
    )


def make_receipt(
    session: Session,
    vault: Vault,
    settled: SettledRound,
    invoice: InvoiceRow,
    head: LedgerHead | None,
    now: datetime,
) -> ReceiptRow:
    """Of an invoice that has its number; `head` is the ledger's once it is posted."""
    receipt_id = new_id("rcpt")
    made = _body(settled, invoice, head, receipt_id, now)
    body = made.model_dump(mode="json")
    signature = sign(session, vault, body)
    return ReceiptRow(
        id=receipt_id,
        invoice_id=invoice.id,
        group_id=invoice.group_id,
        body=body,
        body_digest=sha256_of(canonical_json(body)),
        signing_key_id=signature.key_id,
        signature=signature.signature,
        created_at=now,
    )


def _body(
    settled: SettledRound,
    invoice: InvoiceRow,
    head: LedgerHead | None,
    receipt_id: str,
    now: datetime,
) -> ReceiptBody:
    outcome = settled.outcome
    commitment, path = settled.commitments[invoice.group_id]
    group = next(line for line in outcome.groups if line.group_id == invoice.group_id)
    return ReceiptBody.model_validate(
        {
            "receipt_id": receipt_id,
            "invoice_id": invoice.id,
            "invoice_number": invoice.number,
            "issued_at": now,
            "round_id": outcome.round_id,
            "group_id": group.group_id,
            "announcement_digest": outcome.announcement_digest,
            "report_commitment": commitment,
            "commitment_root": settled.commitment_root,
            "commitment_path": path,
            **_rules(outcome),
            **_figures(group, shows_others=len(takes_part(outcome.groups)) >= FEWEST_GROUPS),
            "divergence": _grand_divergence(outcome),
            "amount_micro_units": invoice.amount_micro_units,
            "currency": invoice.currency,
            "certificate_digest": _certificate_digest(settled, group.group_id),
            "code_version": settled.code_version,
            "ledger_head": head,
        }
    )


def _rules(outcome: Outcome) -> dict[str, object]:
    return {
        "counterfactuals": outcome.counterfactuals,
        "payment_rule": outcome.payment_rule,
        "regularizer": outcome.regularizer,
        "value_on": outcome.value_on,
        "price_per_unit_micro_units": outcome.price_per_unit_micro_units,
        "pool_digest": outcome.pool_digest,
        "adapter_digest": outcome.adapter_digest,
    }


def _figures(group: GroupOutcome, shows_others: bool) -> dict[str, object]:
    """With two groups the others' welfare would be what the one other reported; the difference is
    the payment, which each knows."""
    without, with_ = group.others_welfare_without, group.others_welfare_with
    assert group.payment is not None, "require_settleable has seen to it"
    if without is None or with_ is None:
        difference = group.payment - (group.surcharge or 0.0)
    else:
        difference = without - with_
    return {
        "size": group.size,
        "valuation": group.valuation,
        "others_welfare_without": without if shows_others else None,
        "others_welfare_with": with_ if shows_others else None,
        "others_welfare_difference": difference,
        "surcharge": group.surcharge,
        "payment": group.payment,
        "utility": group.utility,
    }


def _certificate_digest(settled: SettledRound, group_id: str) -> str:
    """As the group sees it, without what audits found: they may come later."""
    certificate = certificate_of(as_seen_by(settled.outcome, group_id), None, settled.digests)
    return sha256_of(canonical_json(certificate.model_dump(mode="json")))


def _grand_divergence(outcome: Outcome) -> float:
    return next(world.divergence for world in outcome.worlds if world.without_group_id is None)
