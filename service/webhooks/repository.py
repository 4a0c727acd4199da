"""SQL of webhook endpoints and their messages. Every query is scoped to the owner."""

from datetime import datetime, timedelta

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.errors import Conflict, NotFound
from api_schemas.ids import new_id
from api_schemas.webhooks import (
    TEST_TYPE,
    PingNews,
    WebhookEndpoint,
    WebhookEndpointCreate,
    WebhookEndpointUpdate,
    WebhookMessage,
)
from service.auth import Principal
from service.database import database_now, lock_until_commit
from service.pages import PageQuery, fetch_page
from service.tables import WebhookEndpointRow, WebhookMessageRow
from service.vault import Vault
from service.webhooks.outbox import new_messages
from service.webhooks.signing import new_key

MAX_ENDPOINTS = 16
"""An owner's: what one event costs, and the connections that one owner may make us open."""
ROTATION_HOURS = 24
_COUNTING_LOCK = 0x7474_7765_6268  # "ttwebh": any constant that no other lock of ours uses


def add_endpoint(
    session: Session, principal: Principal, vault: Vault, asked: WebhookEndpointCreate
) -> WebhookEndpoint:
    """Raises Conflict for one more than MAX_ENDPOINTS."""
    _require_room(session, principal)
    endpoint_id = new_id("whe")
    key = new_key(vault, endpoint_id)
    row = WebhookEndpointRow(
        id=endpoint_id,
        owner_id=principal.owner_id,
        url=asked.url,
        event_types=list(asked.event_types),
        status="enabled",
        public_key=key.public,
        sealed_private_key=key.sealed_private,
        fencing_token=0,
        created_at=database_now(session),
    )
    session.add(row)
    session.flush()
    return _endpoint(row, row.created_at)


def list_endpoints(
    session: Session, principal: Principal, page: PageQuery
) -> ListPage[WebhookEndpoint]:
    now = database_now(session)
    return fetch_page(
        session,
        _own(principal),
        page,
        lambda row: _endpoint(row, now),
        id_column=WebhookEndpointRow.id,
    )


def get_endpoint(session: Session, principal: Principal, endpoint_id: str) -> WebhookEndpoint:
    row = session.scalar(_own(principal).where(WebhookEndpointRow.id == endpoint_id))
    if row is None:
        raise _no_endpoint(endpoint_id)
    return _endpoint(row, database_now(session))


def update_endpoint(
    session: Session, principal: Principal, endpoint_id: str, asked: WebhookEndpointUpdate
) -> WebhookEndpoint:
    row = _locked(session, principal, endpoint_id)
    if asked.url is not None:
        row.url = asked.url
        row.paused_until = None  # another receiver may have asked for the pause
    if asked.event_types is not None:
        row.event_types = list(asked.event_types)
    if asked.status is not None:
        row.status = asked.status
    return _endpoint(row, database_now(session))


def rotate_key(
    session: Session, principal: Principal, vault: Vault, endpoint_id: str
) -> WebhookEndpoint:
    """Both keys sign for a day, so that a receiver may learn the new one at its leisure."""
    row = _locked(session, principal, endpoint_id)
    now = database_now(session)
    row.previous_public_key = row.public_key
    row.previous_sealed_private_key = row.sealed_private_key
    row.previous_expires_at = now + timedelta(hours=ROTATION_HOURS)
    key = new_key(vault, endpoint_id)
    row.public_key, row.sealed_private_key = key.public, key.sealed_private
    return _endpoint(row, now)


def delete_endpoint(session: Session, principal: Principal, endpoint_id: str) -> None:
    """With all its messages."""
    row = _locked(session, principal, endpoint_id, to_delete=True)
    session.execute(delete(WebhookMessageRow).where(WebhookMessageRow.endpoint_id == row.id))
    session.delete(row)


def add_test_message(session: Session, principal: Principal, endpoint_id: str) -> WebhookMessage:
    """Raises Conflict for a disabled endpoint."""
    row = _locked(session, principal, endpoint_id)
    _require_enabled(row)
    news = PingNews(webhook_endpoint_id=endpoint_id).model_dump(mode="json")
    now = database_now(session)
    (message,) = new_messages(session, [endpoint_id], TEST_TYPE, news, now)
    session.add(message)
    return _message(message)


def list_messages(
    session: Session, principal: Principal, endpoint_id: str, page: PageQuery
) -> ListPage[WebhookMessage]:
    """Newest first. Raises NotFound for an endpoint of somebody else."""
    get_endpoint(session, principal, endpoint_id)
    messages = select(WebhookMessageRow).where(WebhookMessageRow.endpoint_id == endpoint_id)
    return fetch_page(session, messages, page, _message, id_column=WebhookMessageRow.id)


def replay(session: Session, principal: Principal, message_id: str) -> WebhookMessage:
    """Make a message due now, with all attempts before it, under the same id.

    Raises Conflict for a disabled endpoint.
    """
    own = select(WebhookMessageRow).join(WebhookEndpointRow)
    own = own.where(WebhookEndpointRow.owner_id == principal.owner_id)
    row = session.scalar(own.where(WebhookMessageRow.id == message_id))
    if row is None:
        raise NotFound(f"there is no webhook message {message_id}")
    # The endpoint first, as everywhere; whoever sends the message meanwhile waits with its end.
    endpoint = _locked(session, principal, row.endpoint_id)
    _require_enabled(endpoint)
    session.refresh(row)
    row.status = "pending"
    row.attempts = 0
    row.next_attempt_at = database_now(session)
    row.delivered_at = None
    return _message(row)


def _own(principal: Principal) -> Select[WebhookEndpointRow]:
    return select(WebhookEndpointRow).where(WebhookEndpointRow.owner_id == principal.owner_id)


def _locked(
    session: Session, principal: Principal, endpoint_id: str, *, to_delete: bool = False
) -> WebhookEndpointRow:
    """Raises NotFound. Messages may be written meanwhile, unless it is to be deleted."""
    own = _own(principal).where(WebhookEndpointRow.id == endpoint_id)
    row = session.scalar(own.with_for_update(key_share=not to_delete))
    if row is None:
        raise _no_endpoint(endpoint_id)
    return row


def _no_endpoint(endpoint_id: str) -> NotFound:
    return NotFound(f"there is no webhook endpoint {endpoint_id}")


def _require_room(session: Session, principal: Principal) -> None:
    """Raises Conflict if there is none. Nobody else counts until the transaction ends."""
    lock_until_commit(session, _COUNTING_LOCK)
    own = select(func.count()).select_from(_own(principal).subquery())
    if (session.scalar(own) or 0) >= MAX_ENDPOINTS:
        raise Conflict(
            f"you have {MAX_ENDPOINTS} webhook endpoints, the most there may be: delete one first",
            code="too_many_webhook_endpoints",
        )


def _require_enabled(row: WebhookEndpointRow) -> None:
    if row.status != "enabled":
        raise Conflict(
            f"webhook endpoint {row.id} is {row.status}, so nothing is sent to it: enable it first",
            code="webhook_endpoint_disabled",
        )


def _endpoint(row: WebhookEndpointRow, now: datetime) -> WebhookEndpoint:
    return WebhookEndpoint.model_validate(
        {
            "id": row.id,
            "url": row.url,
            "event_types": row.event_types,
            "status": row.status,
            "public_keys": [row.public_key, *_previous_public_keys(row, now)],
            "created_at": row.created_at,
        }
    )


def _previous_public_keys(row: WebhookEndpointRow, now: datetime) -> list[str]:
    if row.previous_expires_at is None or row.previous_expires_at <= now:
        return []
    assert row.previous_public_key is not None, "a rotation sets all three"
    return [row.previous_public_key]


def _message(row: WebhookMessageRow) -> WebhookMessage:
    return WebhookMessage.model_validate(
        {
            "id": row.id,
            "webhook_endpoint_id": row.endpoint_id,
            "payload": row.payload,
            "status": row.status,
            "attempts": row.attempts,
            "next_attempt_at": row.next_attempt_at,
            "last_status": row.last_status,
            "last_error": row.last_error,
            "created_at": row.created_at,
            "delivered_at": row.delivered_at,
        }
    )
