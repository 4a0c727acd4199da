"""All checks of a receipt, in the order in which they build on each other."""

from collections.abc import Callable, Sequence

from api_schemas.receipt_checks import Finding, ReceiptVerification, Revaluation, not_checked
from api_schemas.reports import ReportPut
from client.receipts.arithmetic import check_arithmetic
from client.receipts.downloads import check_adapter, check_pool
from client.receipts.evidence import (
    Evidence,
    check_certificate,
    check_inclusion,
    check_report,
    check_round,
    check_rules,
)
from client.receipts.files import Document, SignedReceipt
from client.receipts.keys import PublicKey
from client.receipts.signature import check_digest, check_ids, check_signature

Revalue = Callable[[Revaluation], list[Finding] | None]
"""Computes the payer's valuation again; None where what runs models is not installed."""

NOT_PROVEN = (
    "that the keys given are the service's: take them from where others take them too",
    "that the others' welfare is right: it can't be checked without the others' reports",
    "that the others' reports come from real groups",
    "that every group was shown the same commitment_root: compare it with theirs",
    "that the pool's responses were drawn honestly from the initial model: it was fixed by its "
    "digest, not watched",
    "that a file or trained model which the report names by its id was the one used: the "
    "commitment covers ids",
    "that the ledger keeps the entry of ledger_head: its operator can verify the whole chain",
    "that money moved",
)
_VALUATION = "valuation"


def verify(
    receipt: Document[SignedReceipt],
    keys: Sequence[PublicKey],
    evidence: Evidence,
    revalue: Revalue,
) -> ReceiptVerification:
    """Checks everything that the evidence allows; what it doesn't is told, with the reason."""
    body = receipt.read.body
    files = [check_adapter(body, evidence.adapter), check_pool(body, evidence.pool)]
    named = [check_report(body, evidence.report), check_rules(body, evidence.announcement)]
    findings = [
        check_signature(receipt, keys),
        check_digest(receipt),
        check_ids(receipt),
        *check_arithmetic(body),
        check_inclusion(body),
        *named,
        check_round(body, evidence.round),
        check_certificate(body, evidence.certificate),
        *files,
    ]
    findings += _valuation(receipt.read, evidence, [*named, *files], revalue)
    return ReceiptVerification(
        receipt_id=body.receipt_id,
        verified=all(finding.result != "failed" for finding in findings),
        findings=findings,
        not_proven=list(NOT_PROVEN),
    )


def _valuation(
    receipt: SignedReceipt, evidence: Evidence, needed: Sequence[Finding], revalue: Revalue
) -> list[Finding]:
    """What another report, rules, adapter or pool gives would tell nothing of this receipt."""
    missing = [finding.check for finding in needed if finding.result != "checked"]
    if missing:
        return [not_checked(_VALUATION, f"it needs what was not shown: {', '.join(missing)}")]
    assert evidence.report is not None, "its check would be missing"
    assert evidence.announcement is not None, "its check would be missing"
    report = evidence.report.read
    found = revalue(
        Revaluation(
            body=receipt.body,
            announcement=evidence.announcement.read,
            report=ReportPut(size=report.size, reward_model=report.reward_model),
        )
    )
    if found is None:
        return [not_checked(_VALUATION, "it runs the model: install truthtune[workers]")]
    return found
