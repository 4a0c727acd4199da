"""How often a key may ask, and how often an address may try keys that don't exist.

Token buckets in this process's memory: several API processes each count for themselves, and a
restart forgets. Buckets are per key, so that no group can tell from its own what another does.
"""

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from api_schemas.errors import RateLimited
from service.settings import Settings

UPLOAD_COST = 10
"""An upload is read, checked and stored: about the work of ten other requests."""

_MAX_BUCKETS = 10_000
"""About 2 MB. With more names than that the one longest unseen starts anew."""


@dataclass
class _Bucket:
    tokens: float
    seen: float


@dataclass(frozen=True)
class Allowance:
    """`left` tokens; if it was refused, `seconds` until it won't be."""

    allowed: bool
    left: int
    seconds: int


class TokenBuckets:
    """Every name has `per_minute` tokens at most, and gets so many back a minute; 0 is no limit."""

    def __init__(
        self,
        per_minute: int,
        max_buckets: int = _MAX_BUCKETS,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.per_minute = per_minute
        self._max_buckets = max_buckets
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return name in self._buckets

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, cost: int = 1) -> Allowance:
        """Take `cost` tokens, or none if there are not so many; all of them if it costs more."""
        return self._ask(name, cost, keep=False)

    def peek(self, name: str) -> Allowance:
        """What `take` would say. Makes no bucket."""
        return self._ask(name, 1, keep=True)

    def forget(self, name: str) -> None:
        with self._lock:
            self._buckets.pop(name, None)

    def _ask(self, name: str, cost: int, keep: bool) -> Allowance:
        if not self.per_minute:
            return Allowance(True, 0, 0)
        with self._lock:
            now = self._clock()
            bucket = self._buckets.get(name) or _Bucket(float(self.per_minute), now)
            refilled = bucket.tokens + (now - bucket.seen) * self.per_minute / 60
            tokens = min(float(self.per_minute), refilled)
            cost = min(cost, self.per_minute)
            allowed = tokens >= cost
            if not keep:
                self._store(name, _Bucket(tokens - cost if allowed else tokens, now))
            missing = 0.0 if allowed else cost - tokens
            left = math.floor(tokens - cost if allowed and not keep else tokens)
        return Allowance(allowed, left, math.ceil(missing * 60 / self.per_minute))

    def _store(self, name: str, bucket: _Bucket) -> None:
        self._buckets[name] = bucket
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)


class RateLimits:
    """The limits of one API process. Keys are named by their HMAC, addresses as `client_address`
    names them."""

    def __init__(self, settings: Settings):
        self._keys = TokenBuckets(settings.rate_limit_per_minute)
        self._failures = TokenBuckets(settings.failed_authentications_per_minute)

    def is_known(self, secret_hmac: str) -> bool:
        """Whether the key was good when it was last seen."""
        return secret_hmac in self._keys

    def take_request(self, request: Request, secret_hmac: str) -> None:
        """Raises RateLimited for a key that has asked too often."""
        is_upload = request.method == "POST" and request.url.path == "/v1/files"
        allowance = self._keys.take(secret_hmac, UPLOAD_COST if is_upload else 1)
        if self._keys.per_minute:
            request.state.rate_limit = (self._keys.per_minute, allowance.left)
        if not allowance.allowed:
            _refuse(
                request,
                allowance,
                f"this key may send {self._keys.per_minute} requests a minute, of which an upload "
                f"counts as {UPLOAD_COST}",
            )

    def require_may_try(self, request: Request) -> None:
        """Raises RateLimited for an address that sent too many keys that are none: before the
        database is asked for one more."""
        allowance = self._failures.peek(client_address(request))
        if not allowance.allowed:
            _refuse(
                request,
                allowance,
                f"{self._failures.per_minute} keys a minute that are none may come from one "
                "address; more came from this",
            )

    def note_failure(self, request: Request, secret_hmac: str) -> None:
        self._failures.take(client_address(request))
        self._keys.forget(secret_hmac)


def client_address(request: Request) -> str:
    """The peer's address; of IPv6 the network (/64), for one host has as many as it likes."""
    host = request.client.host if request.client else "none"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a socket without addresses
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False))


def _refuse(request: Request, allowance: Allowance, reason: str) -> None:
    request.state.retry_after = allowance.seconds
    raise RateLimited(f"{reason}; ask again in {allowance.seconds} s")
