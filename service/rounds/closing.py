"""Closing rounds at their announced deadlines."""

import structlog

from service import audit
from service.database import Database, database_now
from service.rounds import lifecycle, repository
from workers.tracing import Tracing

log = structlog.get_logger()


def close_due_rounds(database: Database, tracing: Tracing) -> None:
    """Close each in a transaction of its own: one that fails must not hold up the others.

    It is logged, and tried again the next time. The traces of their jobs start here.
    """
    with database.read() as session:
        due = repository.due_round_ids(session, database_now(session))
    for round_id in due:
        try:
            with tracing.span("close round", {"truthtune.round_id": round_id}):
                _close(database, round_id)
        except Exception:
            log.exception("closing_failed", round_id=round_id)


def _close(database: Database, round_id: str) -> None:
    with database.write() as session:
        row = repository.lock_due_round(session, round_id, database_now(session))
        if row is not None:
            lifecycle.close(session, row)
            audit.record(session, "coordinator", "round.closed", row.id)
