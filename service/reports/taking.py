"""Whether a round takes reports at this moment."""

from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.errors import Conflict
from service.auth import Principal
from service.rounds import repository as rounds


def require_open(
    session: Session, principal: Principal, round_id: str, *, shared: bool = False
) -> datetime:
    """Now, by the database's clock, read once the round is locked; if `shared`, other reports may
    share the lock. Raises Conflict unless the round takes reports at that moment."""
    row = rounds.lock_times(session, principal, round_id, shared=shared)
    if row.state != "open":
        reason = f"round {round_id} is {row.state}; it takes reports only while it is open"
    elif row.closes_at is not None and row.now >= row.closes_at:
        reason = f"round {round_id} closed for reports at {row.closes_at.isoformat()}"
    elif row.opens_at is not None and row.now < row.opens_at:
        reason = f"round {round_id} takes reports from {row.opens_at.isoformat()} on"
    else:
        return row.now
    raise Conflict(reason, code="round_not_open")
