"""What a check finds: a line each, with the command that mends it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from service.database import Database
from service.settings import Settings

Status = Literal["ok", "warning", "wrong", "skipped"]


@dataclass(frozen=True)
class Verdict:
    """`remedy` is a command to run, or what to change; of a finding that is not ok."""

    status: Status
    message: str
    remedy: str | None = None


@dataclass(frozen=True)
class Finding:
    check: str
    verdict: Verdict

    def as_json(self) -> dict[str, str | None]:
        found = self.verdict
        return {
            "check": self.check,
            "status": found.status,
            "message": found.message,
            "remedy": found.remedy,
        }


@dataclass(frozen=True)
class Installation:
    """What is examined. `machine_now` is this machine's clock."""

    settings: Settings
    database: Database

    def machine_now(self) -> datetime:
        return datetime.now(UTC)


def ok(message: str) -> Verdict:
    return Verdict("ok", message)


def warning(message: str, remedy: str) -> Verdict:
    return Verdict("warning", message, remedy)


def wrong(message: str, remedy: str) -> Verdict:
    return Verdict("wrong", message, remedy)
