"""The states of a round and the only ways from one to another."""

from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.commitments import merkle_root
from api_schemas.errors import Conflict
from api_schemas.jobs import RoundJob
from api_schemas.rounds import Announcement, RoundFailure, RoundState
from service.database import database_now
from service.jobs import queue
from service.reports import repository as reports
from service.tables import RoundRow
from service.webhooks import notices

TRANSITIONS: dict[RoundState, frozenset[RoundState]] = {
    "draft": frozenset({"open", "cancelled"}),
    "open": frozenset({"closed", "cancelled"}),
    "closed": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"settled", "failed", "cancelled"}),
    "settled": frozenset(),
    "failed": frozenset({"closed"}),  # its job is tried again
    "cancelled": frozenset(),
}


def move(session: Session, row: RoundRow, to: RoundState) -> None:
    """Change the state of a locked row. Raises Conflict, naming both states, if that is illegal."""
    state: RoundState = row.state  # type: ignore[assignment]  # the column holds nothing else
    if to not in TRANSITIONS[state]:
        raise Conflict(
            f"round {row.id} is {state}; from there it can't become {to}",
            code="illegal_transition",
        )
    row.state = to
    now = database_now(session)
    if to == "open":
        row.opened_at = now
    elif to == "closed" and row.closed_at is None:
        row.closed_at = now
    elif to == "settled":
        row.settled_at = now
    if to != "failed":
        row.failure = None
    notices.round_moved(session, row, to)


def open_for_reports(session: Session, row: RoundRow) -> None:
    """Raises Conflict for a draft whose announced deadline has passed meanwhile."""
    now = database_now(session)
    if row.state == "draft" and row.closes_at is not None and row.closes_at <= now:
        raise Conflict(
            f"round {row.id} was to close at {_text(row.closes_at)}, now is {_text(now)}: cancel "
            "it and announce another",
            code="deadline_passed",
        )
    move(session, row, "open")


def close(session: Session, row: RoundRow) -> None:
    """End the reports of an open, locked round, publish the root of their commitments, and queue
    its job.

    Raises Conflict before an announced deadline: groups may rely on it. A round without reports
    fails at once.
    """
    if row.state == "failed":  # its job may be tried again; its reports ended once
        raise Conflict(
            f"round {row.id} is failed; retry its job, if it has one: it was closed already",
            code="illegal_transition",
        )
    now = database_now(session)
    if row.state == "open" and row.closes_at is not None and now < row.closes_at:
        raise Conflict(
            f"round {row.id} announced that it closes at {_text(row.closes_at)}, now is "
            f"{_text(now)}: it closes by itself then",
            code="deadline_not_reached",
        )
    move(session, row, "closed")
    commitments = reports.commitments(session, row.id)
    if not commitments:
        fail(session, row, RoundFailure(code="no_reports", message="no group reported"))
        return
    row.commitment_root = merkle_root(commitments)
    queue.enqueue(
        session,
        RoundJob(
            round_id=row.id,
            announcement=Announcement.model_validate(row.announcement),
            announcement_digest=row.announcement_digest,
        ),
    )


def cancel(session: Session, row: RoundRow) -> None:
    """Give a locked round up, and its job if it has one."""
    move(session, row, "cancelled")
    queue.cancel_job_of(session, row.id)


def fail(session: Session, row: RoundRow, failure: RoundFailure) -> None:
    move(session, row, "failed")
    row.failure = failure.model_dump(mode="json")


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
