"""What the checks of a receipt say, and what those that run a model need."""

from typing import Literal

from pydantic import Field

from api_schemas.base import Schema
from api_schemas.ids import ReceiptId
from api_schemas.ledger import ReceiptBody
from api_schemas.reports import ReportPut
from api_schemas.rounds import Announcement


class Finding(Schema):
    """One check: that it held, that it failed, or why it was not made."""

    check: str
    result: Literal["checked", "failed", "not_checked"]
    detail: str


class ReceiptVerification(Schema):
    object: Literal["receipt_verification"] = "receipt_verification"
    receipt_id: ReceiptId
    verified: bool = Field(description="Whether no check failed; see which were not made.")
    findings: list[Finding]
    not_proven: list[str] = Field(description="What no check of a receipt can show.")


class Revaluation(Schema):
    """A receipt's own words, and the rules and the report that it is bound to."""

    body: ReceiptBody
    announcement: Announcement
    report: ReportPut


def checked(check: str, detail: str) -> Finding:
    return Finding(check=check, result="checked", detail=detail)


def failed(check: str, detail: str) -> Finding:
    return Finding(check=check, result="failed", detail=detail)


def not_checked(check: str, why: str) -> Finding:
    return Finding(check=check, result="not_checked", detail=why)


def compared(check: str, holds: bool, detail: str) -> Finding:
    return checked(check, detail) if holds else failed(check, detail)
