"""SQL of the examination. It asks nothing of reports, and nothing of groups' reward models: not
even their number may show."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from service.auth import OPERATOR
from service.tables import (
    JobEventRow,
    JobRow,
    KeyRow,
    SigningKeyRow,
    UtcDateTime,
    WebhookEndpointRow,
)

_SHOWN_KINDS = ("round", "audit")


def any_keys(session: Session) -> bool:
    return session.scalar(select(KeyRow.id).limit(1)) is not None


def last_end_of_operator_keys(session: Session, now: datetime) -> tuple[bool, datetime | None]:
    """Whether the operator has a key that may do everything, and when the last of them ends."""
    live = select(KeyRow.expires_at).where(
        KeyRow.scope == "operator",
        KeyRow.access == "full",
        KeyRow.revoked_at.is_(None),
        or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > now),
    )
    ends = list(session.scalars(live))
    known = [end for end in ends if end is not None]
    return bool(ends), max(known) if ends and len(known) == len(ends) else None


def sealed_keys(session: Session) -> Iterator[tuple[str, str, bytes]]:
    """What was sealed with the seal key, reports aside: the newest and the oldest signing key, and
    the newest webhook endpoint's; as kind, id and sealed bytes."""
    signing = select(SigningKeyRow.id, SigningKeyRow.sealed_private_key)
    endpoint = select(WebhookEndpointRow.id, WebhookEndpointRow.sealed_private_key)
    for kind, rows in (
        ("signing_key", signing.order_by(SigningKeyRow.created_at.desc()).limit(1)),
        ("signing_key", signing.order_by(SigningKeyRow.created_at).limit(1)),
        ("webhook_endpoint", endpoint.order_by(WebhookEndpointRow.created_at.desc()).limit(1)),
    ):
        for row_id, sealed in session.execute(rows):
            yield kind, row_id, sealed


def waiting_since(session: Session, now: datetime) -> tuple[str, datetime] | None:
    """The job that nobody holds and nobody was heard of for longest, and since when; of rounds,
    audits and the operator's."""
    heard = select(func.max(JobEventRow.created_at)).where(JobEventRow.job_id == JobRow.id)
    since = func.coalesce(heard.scalar_subquery(), JobRow.created_at, type_=UtcDateTime())
    waiting = select(JobRow.id, since).where(
        or_(JobRow.kind.in_(_SHOWN_KINDS), JobRow.owner_id == OPERATOR),
        or_(
            JobRow.status == "queued",
            (JobRow.status == "running") & (JobRow.lease_expires_at <= now),
        ),
    )
    found = session.execute(waiting.order_by(since, JobRow.id).limit(1)).first()
    return None if found is None else (found[0], found[1])


def any_job_held(session: Session, now: datetime) -> bool:
    """Whether a coordinator works: on whatever, so that it tells nothing of what."""
    held = select(JobRow.id).where(JobRow.status == "running", JobRow.lease_expires_at > now)
    return session.scalar(held.limit(1)) is not None
