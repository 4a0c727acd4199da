"""What the reader of a receipt holds beside it, and whether that is what the receipt names."""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api_schemas.certificates import Certificate
from api_schemas.commitments import SALT_BYTES, commitment, root_of_path
from api_schemas.errors import InvalidInput
from api_schemas.ledger import ReceiptBody
from api_schemas.receipt_checks import Finding, checked, compared, failed, not_checked
from api_schemas.reports import Report, ReportPut
from api_schemas.rounds import Announcement, Round
from client.receipts.files import Document, digest_of, read_as, read_document, read_object

_RULES = (
    "counterfactuals",
    "payment_rule",
    "regularizer",
    "price_per_unit_micro_units",
    "currency",
)
"""What the receipt repeats of the announcement."""
_REPORTED = ("size", "reward_model")
"""What of a report its commitment covers."""


@dataclass(frozen=True)
class Evidence:
    """None for what was not given; a round's document holds its announcement too."""

    report: Document[Report] | None = None
    announcement: Document[Announcement] | None = None
    round: Document[Round] | None = None
    certificate: Document[Certificate] | None = None
    adapter: Path | None = None
    pool: Path | None = None


def read_report(path: Path) -> Document[Report]:
    """Raises InvalidInput, also for a salt of another length, and for what nobody could report."""
    found = read_document(path, Report)
    read_as(ReportPut, {name: found.json[name] for name in _REPORTED}, path)
    _salt(found.read, str(path))
    return found


def read_announcement(path: Path) -> Document[Announcement]:
    """Of a file that holds an announcement, or the round that it opened."""
    value = read_object(path)
    found = value.get("announcement", value)
    announcement = read_as(Announcement, found, path)
    return Document(found, announcement)


def check_inclusion(body: ReceiptBody) -> Finding:
    """RFC 9162 §2.1.3.2: the path leads from the commitment to the root."""
    found = root_of_path(body.report_commitment, body.commitment_path)
    steps = len(body.commitment_path)
    return compared(
        "inclusion",
        found == body.commitment_root,
        f"a path of {steps} leads from report_commitment to {found}",
    )


def check_report(body: ReceiptBody, report: Document[Report] | None) -> Finding:
    """The commitment is to the reader's own report, and the receipt bills that one's size."""
    check = "report"
    if report is None:
        return not_checked(check, "give --report, the JSON of your report")
    told = report.read
    if (told.round_id, told.group_id) != (body.round_id, body.group_id):
        return failed(check, f"it is of group {told.group_id} in round {told.round_id}")
    content = {name: report.json[name] for name in _REPORTED}
    found = commitment(body.round_id, body.group_id, _salt(told, check), content)
    if found != body.report_commitment:
        return failed(check, f"the report given has the commitment {found}")
    return compared(
        check,
        told.size == body.size,
        f"the commitment is to the report given, of size {told.size}; billed is {body.size}",
    )


def check_rules(body: ReceiptBody, announcement: Document[Announcement] | None) -> Finding:
    """The receipt's rules are those that were announced before any report."""
    check = "announcement"
    if announcement is None:
        return not_checked(check, "give --announcement, or --round: the JSON of the round")
    found = digest_of(announcement.json)
    if found != body.announcement_digest:
        return failed(check, f"the announcement given has {found}")
    rules = announcement.read
    for name in _RULES:
        if getattr(body, name) != getattr(rules, name):
            return failed(check, f"announced was another {name}, {getattr(rules, name)!r}")
    if body.value_on == "mixture" and rules.value_on == "pool":
        return failed(check, "value_on is 'mixture', announced was 'pool'")
    if body.size > rules.max_group_size:
        return failed(check, f"size {body.size} is above max_group_size {rules.max_group_size}")
    return checked(check, "its digest, and the rules, price, currency and λ that the receipt says")


def check_round(body: ReceiptBody, round_: Document[Round] | None) -> Finding:
    """What the round has shown everyone since its close."""
    check = "root"
    if round_ is None:
        return not_checked(
            check, "give --round, the JSON of the round, best as it was at its close"
        )
    told = round_.read
    if told.id != body.round_id:
        return failed(check, f"the round given is {told.id}")
    if told.announcement_digest != body.announcement_digest:
        return failed(check, f"the round's announcement_digest is {told.announcement_digest}")
    return compared(
        check,
        told.commitment_root == body.commitment_root,
        f"the round's commitment_root is {told.commitment_root}",
    )


def check_certificate(body: ReceiptBody, certificate: Document[Certificate] | None) -> Finding:
    """As it was at settlement: audits add to it later."""
    check = "certificate"
    if certificate is None:
        return not_checked(check, "give --certificate, the JSON of the round's certificate")
    as_given = certificate.json
    found = digest_of(as_given | {"audited": None})
    later = " before its audits" * (as_given.get("audited") is not None)
    if found != body.certificate_digest:
        return failed(check, f"the certificate given had{later} {found}")
    digests: dict[str, Any] = certificate.read.digests.model_dump()
    for name in ("pool", "adapter", "announcement"):
        if digests[name] != getattr(body, f"{name}_digest"):
            return failed(check, f"it names another {name}, {digests[name]}")
    return checked(check, f"its digest{later}, and the pool, adapter and announcement it names")


def _salt(report: Report, where: str) -> bytes:
    try:
        salt = base64.b64decode(report.salt, validate=True)
    except (binascii.Error, ValueError):
        salt = b""
    if len(salt) != SALT_BYTES:
        raise InvalidInput(f"{where}: salt {report.salt!r} is not {SALT_BYTES} bytes in base 64")
    return salt
