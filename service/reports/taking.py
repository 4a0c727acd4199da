"""Whether a round takes reports at this moment."""

from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.errors import Conflict
from service.auth import Principal
from service.database import database_now
from service.rounds import repository as rounds


def require_open(session: Session, principal: Principal, round_id: str) -> datetime:
    """Now, by the database's clock, read once the round is locked. Raises Conflict unless the round
    takes reports at that moment."""
    row = rounds.lock_round(session, principal, round_id)
    now = database_now(session)
    if row.state != "open":
        reason = f"round {round_id} is {row.state}; it takes reports only while it is open"
    elif row.closes_at is not None and now >= row.closes_at:
        reason = f"round {round_id} closed for reports at {row.closes_at.isoformat()}"
    elif row.opens_at is not None and now < row.opens_at:
        reason = f"round {round_id} takes reports from {row.opens_at.isoformat()} on"
    else:
        return now
    raise Conflict(reason, code="round_not_open")
