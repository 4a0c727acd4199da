"""Which job comes next: those of rounds before all others, which take turns by their owners."""

from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session, aliased

from service.auth import OPERATOR
from service.tables import JobRow, RoundRow


def next_job(session: Session, now: datetime) -> tuple[RoundRow | None, JobRow] | None:
    """A job that nobody holds, locked, and the round that it is the own of; None if there is none.

    Jobs that another transaction has locked are passed over.
    """
    return _next_round(session, now) or _next_of_the_others(session, now)


def _next_round(session: Session, now: datetime) -> tuple[RoundRow, JobRow] | None:
    """The oldest free job of a round, locked with its round. These go first: groups wait."""
    found = session.execute(
        select(RoundRow, JobRow)
        .join(JobRow, JobRow.round_id == RoundRow.id)
        .where(JobRow.kind == "round", _free(now))
        .order_by(JobRow.created_at, JobRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).first()
    return None if found is None else (found[0], found[1])


def _next_of_the_others(session: Session, now: datetime) -> tuple[None, JobRow] | None:
    """A free job of another kind, locked: the oldest of whoever was served longest ago.

    So a group that queues many fits makes others wait for one of them. Audits are the operator's.
    """
    of_owner = aliased(JobRow)
    served = select(func.max(of_owner.started_at)).where(
        of_owner.kind != "round",
        func.coalesce(of_owner.owner_id, OPERATOR) == func.coalesce(JobRow.owner_id, OPERATOR),
    )
    row = session.scalar(
        select(JobRow)
        .where(JobRow.kind != "round", _free(now))
        .order_by(served.scalar_subquery().asc().nulls_first(), JobRow.created_at, JobRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return None if row is None else (None, row)


def _free(now: datetime) -> ColumnElement[bool]:
    unheld = or_(JobRow.lease_expires_at.is_(None), JobRow.lease_expires_at <= now)
    return JobRow.status.in_(("queued", "running")) & unheld
