"""SQL of rounds. The operator sees all, a group those that were opened."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, select
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.ids import new_id
from api_schemas.rounds import Announcement, Round, RoundState
from service.auth import Principal
from service.database import Backend, backend_of, clock_of, lock_until_commit, moment_of
from service.pages import PageQuery, fetch_rows, to_page
from service.tables import JobRow, ModelRow, RoundRow
from workers.artifacts import canonical_json, sha256_of


def add_round(session: Session, announcement: Announcement, now: datetime) -> Round:
    """A draft. Its announcement, and the digest of that, never change again."""
    announced = announcement.model_dump(mode="json")
    row = RoundRow(
        id=new_id("rnd"),
        state="draft",
        announcement=announced,
        announcement_digest=sha256_of(canonical_json(announced)),
        opens_at=announcement.opens_at,
        closes_at=announcement.closes_at,
        created_at=now,
    )
    session.add(row)
    return _round(row, None, None)


def get_round(session: Session, principal: Principal, round_id: str) -> Round:
    return to_round(session, _found(session, principal, round_id, lock=False))


def get_announcement(session: Session, principal: Principal, round_id: str) -> Announcement:
    """Raises NotFound."""
    statement = _announced(principal.is_operator)
    announced = session.connection().scalar(statement, {"round_id": round_id})
    if announced is None:
        raise NotFound(f"there is no round {round_id}")
    return Announcement.model_validate(announced)


def lock_round(session: Session, principal: Principal, round_id: str) -> RoundRow:
    """The row, held until the transaction ends: a report and the close can't pass each other."""
    return _found(session, principal, round_id, lock=True)


class LockedTimes(NamedTuple):
    """What decides whether a round takes reports."""

    state: RoundState
    opens_at: datetime | None
    closes_at: datetime | None
    now: datetime


def lock_times(
    session: Session, principal: Principal, round_id: str, *, shared: bool = False
) -> LockedTimes:
    """Nobody opens, closes or cancels the round until the transaction ends; `now` is the database's
    clock, read when the lock was there. If `shared`, others may share it, so that groups report
    side by side, and the close waits for all of them.

    The lock is that of the name alone: whoever takes a round into its state `open`, or out of it,
    has taken it too. To lock the row beside would write to it, once for every report.

    Raises NotFound.
    """
    lock_until_commit(session, _lock_name(round_id), shared=shared)
    statement = _times(principal.is_operator, backend_of(session))
    row = session.connection().execute(statement, {"round_id": round_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no round {round_id}")
    state, opens_at, closes_at, clock = row
    return LockedTimes(state, opens_at, closes_at, moment_of(clock))


def due_round_ids(session: Session, now: datetime) -> Sequence[str]:
    """The open rounds whose deadline has passed."""
    return session.scalars(select(RoundRow.id).where(_is_due(now))).all()


def lock_due_round(session: Session, round_id: str, now: datetime) -> RoundRow | None:
    """None if the round is due no more, or another transaction holds its row."""
    lock_until_commit(session, _lock_name(round_id))
    due = select(RoundRow).where(RoundRow.id == round_id, _is_due(now))
    return session.scalar(due.with_for_update(skip_locked=True))


def _lock_name(round_id: str) -> str:
    """Of a lock that is taken before the row's: PostgreSQL lets those who share a row's lock pass
    one who waits for it alone, so that reports without end could put off the close."""
    return f"round {round_id}"


def _is_due(now: datetime) -> ColumnElement[bool]:
    return (RoundRow.state == "open") & (RoundRow.closes_at <= now)


def list_rounds(
    session: Session, principal: Principal, page: PageQuery, state: RoundState | None = None
) -> ListPage[Round]:
    """Newest first; of one state where it is given."""
    rounds = _visible(principal)
    if state is not None:
        rounds = rounds.where(RoundRow.state == state)
    rows, has_more = fetch_rows(session, rounds, page, id_column=RoundRow.id)
    return to_page(_to_rounds(session, rows), has_more)


def to_round(session: Session, row: RoundRow) -> Round:
    return _to_rounds(session, [row])[0]


def _visible(principal: Principal) -> Select[RoundRow]:
    """A draft that was cancelled was never announced, so its groups never see it either."""
    return _visible_to(principal.is_operator)


# Whoever reports asks for these: to build a statement takes longer than to run it, and by way of
# the session, which has no part in columns, half as long again.


@cache
def _visible_to(operator: bool) -> Select[RoundRow]:
    rounds = select(RoundRow)
    return rounds if operator else rounds.where(RoundRow.opened_at.is_not(None))


@cache
def _announced(to_operator: bool) -> Select[dict[str, Any]]:
    this = RoundRow.id == bindparam("round_id")
    return _visible_to(to_operator).with_only_columns(RoundRow.announcement).where(this)


@cache
def _times(
    to_operator: bool, backend: Backend
) -> Select[RoundState, datetime | None, datetime | None, Any]:
    columns = (RoundRow.state, RoundRow.opens_at, RoundRow.closes_at, clock_of(backend))
    one = _visible_to(to_operator).where(RoundRow.id == bindparam("round_id"))
    return one.with_only_columns(*columns)


def _found(session: Session, principal: Principal, round_id: str, *, lock: bool) -> RoundRow:
    statement = _visible(principal).where(RoundRow.id == round_id)
    if lock:
        lock_until_commit(session, _lock_name(round_id))
        statement = statement.with_for_update()
    row = session.scalar(statement)
    if row is None:
        raise NotFound(f"there is no round {round_id}")
    return row


def _to_rounds(session: Session, rows: Sequence[RoundRow]) -> list[Round]:
    session.flush()  # a job made in this transaction belongs to its round's body
    ids = [row.id for row in rows]
    own = JobRow.round_id.in_(ids) & (JobRow.kind == "round")
    jobs = _ids_by_round(session, select(JobRow.round_id, JobRow.id), own)
    models = _ids_by_round(
        session, select(ModelRow.round_id, ModelRow.id), ModelRow.round_id.in_(ids)
    )
    return [_round(row, jobs.get(row.id), models.get(row.id)) for row in rows]


def _ids_by_round(session: Session, statement: Select[str, str], condition: Any) -> dict[str, str]:
    return dict(session.execute(statement.where(condition)).all())


def _round(row: RoundRow, job_id: str | None, model_id: str | None) -> Round:
    return Round.model_validate(
        {
            "id": row.id,
            "state": row.state,
            "announcement": row.announcement,
            "announcement_digest": row.announcement_digest,
            "commitment_root": row.commitment_root,
            "job_id": job_id,
            "model_id": model_id,
            "failure": row.failure,
            "created_at": row.created_at,
            "opened_at": row.opened_at,
            "closed_at": row.closed_at,
            "settled_at": row.settled_at,
        }
    )
