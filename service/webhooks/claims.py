"""SQL of delivery: a due message is claimed with its endpoint, sent, and what came of it noted.

While a message is on its way its endpoint is held, by the database's clock and under a fencing
token, so that any number of deliverers send each endpoint one message at a time, the oldest first.
A deliverer that dies leaves the endpoint held until the hold runs out; the message is then sent
again, under the same id.
"""

import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from service.tables import WebhookEndpointRow, WebhookMessageRow
from service.webhooks.sending import Answer

HOLD = timedelta(seconds=60)
"""Longer than an attempt may take: 15 s, and the name lookup, which only the system ends."""
DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Between attempts, the first of which is at once: the specification's example schedule."""
MAX_ATTEMPTS = len(DELAYS) + 1
MOST_OF_ONE_OWNER = 4
"""Endpoints of an owner that are sent to at once: half of a deliverer's threads."""
_JITTER = 0.1
_LONGEST_PAUSE = timedelta(hours=24)
_GONE = 410


@dataclass(frozen=True)
class Claim:
    """A message on its way; what its end may be noted by, and what is sent."""

    message_id: str
    attempt: int
    endpoint_id: str
    token: int
    claimed_at: datetime
    url: str
    sealed_keys: tuple[bytes, ...]
    body: bytes


def any_due(session: Session, now: datetime) -> bool:
    return session.scalar(_due_endpoints(now)) is not None


def claim(session: Session, now: datetime) -> Claim | None:
    """The oldest due message of the endpoint that has waited longest; None if none is due."""
    locked = _due_endpoints(now).with_for_update(
        of=WebhookEndpointRow, skip_locked=True, key_share=True
    )
    endpoint = session.scalar(locked)
    if endpoint is None:
        return None
    due = select(WebhookMessageRow).where(
        WebhookMessageRow.endpoint_id == endpoint.id, *_is_due(now)
    )
    message = session.scalar(due.order_by(WebhookMessageRow.id).limit(1))
    if message is None:  # sent by another deliverer since this transaction's first look
        return None
    message.attempts += 1
    endpoint.fencing_token += 1
    endpoint.held_until = now + HOLD
    return Claim(
        message.id,
        message.attempts,
        endpoint.id,
        endpoint.fencing_token,
        now,
        endpoint.url,
        _sealed_keys(endpoint, now),
        _body(message),
    )


def finish(session: Session, held: Claim, answer: Answer, now: datetime) -> bool:
    """Note what came of an attempt; False, and nothing noted, if the endpoint is held anew since,
    or is gone."""
    endpoint = session.scalar(
        select(WebhookEndpointRow)
        .where(
            WebhookEndpointRow.id == held.endpoint_id,
            WebhookEndpointRow.fencing_token == held.token,
        )
        .with_for_update(key_share=True)
    )
    if endpoint is None:
        return False
    endpoint.held_until = now
    if answer.retry_after_seconds is not None:
        endpoint.paused_until = now + _pause(answer.retry_after_seconds)
    if answer.status == _GONE:
        endpoint.status = "disabled"
    message = session.get_one(WebhookMessageRow, held.message_id)
    if message.attempts == held.attempt:  # otherwise it was replayed meanwhile, and is due anew
        _note(message, answer, now)
    return True


def _note(message: WebhookMessageRow, answer: Answer, now: datetime) -> None:
    message.last_status = answer.status
    message.last_error = answer.error[:1000] if answer.error else None
    message.next_attempt_at = None
    if answer.is_success:
        message.status = "delivered"
        message.delivered_at = now
    elif answer.status == _GONE or message.attempts >= MAX_ATTEMPTS:
        message.status = "failed"
    else:
        asked = _pause(answer.retry_after_seconds or 0.0)
        message.next_attempt_at = now + max(asked, _delay(message.attempts))


def _delay(attempts: int) -> timedelta:
    """After the last of so many attempts; up to a tenth more, so that what failed together does
    not come back together."""
    return DELAYS[attempts - 1] * (1 + _JITTER * random.random())


def _pause(seconds: float) -> timedelta:
    """As a receiver asked for, within reason: a message must not be put off for ever."""
    return min(timedelta(seconds=min(seconds, 1e6)), _LONGEST_PAUSE)


def _due_endpoints(now: datetime) -> Select[WebhookEndpointRow]:
    """One endpoint that may be sent to and has a due message: that which was let go first."""
    endpoint = WebhookEndpointRow
    return (
        select(endpoint)
        .where(
            endpoint.status == "enabled",
            _past(endpoint.held_until, now),
            _past(endpoint.paused_until, now),
            exists().where(WebhookMessageRow.endpoint_id == endpoint.id, *_is_due(now)),
            _held_by_owner(now) < MOST_OF_ONE_OWNER,
        )
        .order_by(func.coalesce(endpoint.held_until, endpoint.created_at), endpoint.id)
        .limit(1)
    )


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return WebhookMessageRow.status == "pending", WebhookMessageRow.next_attempt_at <= now


def _past(moment: InstrumentedAttribute[datetime | None], now: datetime) -> ColumnElement[bool]:
    return or_(moment.is_(None), moment <= now)


def _held_by_owner(now: datetime) -> ColumnElement[int]:
    other = aliased(WebhookEndpointRow)
    held = select(func.count()).select_from(other)
    return held.where(
        other.owner_id == WebhookEndpointRow.owner_id, other.held_until > now
    ).scalar_subquery()


def _body(message: WebhookMessageRow) -> bytes:
    """The same at every attempt, and without a space, as the specification wants it."""
    return json.dumps(message.payload, separators=(",", ":"), sort_keys=True).encode()


def _sealed_keys(endpoint: WebhookEndpointRow, now: datetime) -> tuple[bytes, ...]:
    """The newest first, and the one before for a day after a rotation."""
    if endpoint.previous_expires_at is None or endpoint.previous_expires_at <= now:
        return (endpoint.sealed_private_key,)
    assert endpoint.previous_sealed_private_key is not None, "a rotation sets all three"
    return endpoint.sealed_private_key, endpoint.previous_sealed_private_key
