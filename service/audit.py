"""The audit log: who did what to whom, written in the transaction of the deed."""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from api_schemas.ids import new_id
from service.auth import Principal
from service.tables import AuditRow


def record(
    session: Session,
    actor: Principal | str,
    action: str,
    subject: str,
    reason: str | None = None,
) -> None:
    """Note what `actor` did: a principal, or a process such as `coordinator`.

    `action` is a noun and a verb in the past, as in `round.opened`; `subject` is an id.
    """
    name = actor if isinstance(actor, str) else f"{actor.owner_id}/{actor.key_id}"
    session.add(
        AuditRow(
            id=new_id("log"),
            actor=name,
            action=action,
            subject=subject,
            reason=reason,
            created_at=datetime.now(UTC),
        )
    )
