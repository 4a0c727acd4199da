"""When a request is sent again, and after how long."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_TRANSIENT = frozenset({502, 503, 504})
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 8.0
_LONGEST_RETRY_AFTER_SECONDS = 60.0
"""A service that asks for more gets an error instead: the caller should know, not hang."""


def is_safe(request: httpx.Request) -> bool:
    """Whether the request, sent twice, does its work once."""
    return request.method in _IDEMPOTENT_METHODS or "Idempotency-Key" in request.headers


def may_be_sent_again(error: httpx.TransportError, safe: bool) -> bool:
    return isinstance(error, _LOST if safe else _NEVER_SENT)


def delay_before_retry(response: httpx.Response, safe: bool, attempt: int) -> float | None:
    """Seconds to wait; None if sending it again is useless, unsafe, or would take too long."""
    return _delay(response, attempt) if _should_retry(response, safe) else None


def backoff(attempt: int) -> float:
    """Doubles up to a bound; the random half keeps many clients from coming back at once."""
    longest = min(_FIRST_DELAY_SECONDS * 2.0**attempt, _LONGEST_DELAY_SECONDS)
    return longest * (0.5 + random.random() / 2)


def _should_retry(response: httpx.Response, safe: bool) -> bool:
    asked = response.headers.get("x-should-retry")
    if asked in ("true", "false"):
        return bool(asked == "true")
    return response.status_code == 429 or (safe and response.status_code in _TRANSIENT)


def _delay(response: httpx.Response, attempt: int) -> float | None:
    asked = _retry_after(response)
    if asked is None:
        return backoff(attempt)
    return asked if asked <= _LONGEST_RETRY_AFTER_SECONDS else None


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, given as such or as a date (RFC 9110 §10.2.3). A date is compared with the answer's
    own `Date`, for the clock here may be wrong. None if nothing, or nothing readable, is given."""
    asked = response.headers.get("retry-after", "")
    if asked.isascii() and asked.isdecimal():
        return float(asked)
    then, now = _moment(asked), _moment(response.headers.get("date", ""))
    return None if then is None or now is None else max(0.0, (then - now).total_seconds())


def _moment(date: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(date)
    except ValueError:
        return None
    # One of the three forms of RFC 9110 §5.6.7 names no zone, and means UTC.
    return found if found.tzinfo else found.replace(tzinfo=UTC)
