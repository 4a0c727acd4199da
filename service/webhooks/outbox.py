"""The outbox: a message is written in the transaction of what it tells, or not at all."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.ids import new_id
from api_schemas.webhooks import WebhookEventType, WebhookPayload
from service.database import database_now
from service.tables import WebhookEndpointRow, WebhookMessageRow


def publish(
    session: Session,
    owner_ids: Collection[str] | None,
    type: WebhookEventType,
    data: dict[str, Any],
) -> None:
    """Write a message for each enabled endpoint of these owners that asked for the type.

    An owner is a group's id or `operator`; None stands for all. `data` is what the owners may see.
    """
    found = select(WebhookEndpointRow.id, WebhookEndpointRow.event_types)
    found = found.where(WebhookEndpointRow.status == "enabled").order_by(WebhookEndpointRow.id)
    if owner_ids is not None:
        found = found.where(WebhookEndpointRow.owner_id.in_(owner_ids))
    # Nobody may delete them before this commits; they may be sent to meanwhile.
    locked = found.with_for_update(read=True, key_share=True)
    told = [id_ for id_, event_types in session.execute(locked) if type in event_types]
    if told:
        session.add_all(new_messages(session, told, type, data, database_now(session)))


def new_messages(
    session: Session, endpoint_ids: Sequence[str], type: str, data: dict[str, Any], now: datetime
) -> list[WebhookMessageRow]:
    """One for each endpoint, due at once; there must be one."""
    ids = _next_ids(session, len(endpoint_ids))
    payload = WebhookPayload(type=type, timestamp=now, data=data).model_dump(mode="json")
    return [
        WebhookMessageRow(
            id=message_id,
            endpoint_id=endpoint_id,
            type=type,
            payload=payload,
            status="pending",
            attempts=0,
            next_attempt_at=now,
            created_at=now,
        )
        for endpoint_id, message_id in zip(endpoint_ids, ids, strict=True)
    ]


def _next_ids(session: Session, count: int) -> list[str]:
    """Above all before in the session: messages go out in the order of their ids, and ids made
    within one millisecond would have none. It waits for the next millisecond at the most."""
    last = session.info.get("last_webhook_message_id", "")
    made = []
    for _ in range(count):
        while (next_id := new_id("msg")) <= last:
            pass
        made.append(next_id)
    session.info["last_webhook_message_id"] = max(made)
    return made
