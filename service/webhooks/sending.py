"""One POST to a receiver: to the very addresses that were judged, within a bounded time.

The host is resolved once, at the connection, and the address that was judged is the one that is
connected to: a name can't be given another address in between (DNS rebinding). TLS still asks for
the host's own certificate. No redirect is followed and no body is read.
"""

import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore

from service.webhooks.addresses import ForbiddenAddress, Resolve, require_allowed, resolve

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0
"""From the first name lookup to the answer's headers; the specification asks for 15 to 30."""

_RECEIVERS_FAULTS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    OSError,  # no such host
    ValueError,  # a URL that only the connection finds malformed
)


@dataclass(frozen=True)
class Answer:
    """What became of an attempt: an HTTP status, or the reason why there is none."""

    status: int | None
    error: str | None
    retry_after_seconds: float | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Sender:
    """`private_too` allows private addresses and loopback, and http to them.

    `tls` and `resolve_host` are the system's unless others are given.
    """

    def __init__(
        self,
        *,
        private_too: bool,
        tls: ssl.SSLContext | None = None,
        resolve_host: Resolve = resolve,
    ):
        self._private_too = private_too
        self._tls = tls or _system_tls()
        self._resolve = resolve_host

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Never raises for anything that a receiver or its network does."""
        try:
            target = httpcore.URL(url)
            network = _Network(self._resolve, target.scheme.decode(), self._private_too)
            given = [*headers.items(), ("Connection", "close")]
            with (
                httpcore.ConnectionPool(self._tls, network_backend=network) as pool,
                pool.stream("POST", target, headers=given, content=body) as response,
            ):
                return _answer(response.status, response.headers)
        except ForbiddenAddress as error:
            return Answer(None, str(error))
        except _RECEIVERS_FAULTS as error:
            return Answer(
                None, f"{type(error).__name__}: {str(error).strip() or 'no reason given'}"
            )


class _Network(httpcore.NetworkBackend):
    """Connects to judged addresses only; all waiting together ends at one deadline."""

    def __init__(self, resolve_host: Resolve, scheme: str, private_too: bool):
        self._resolve = resolve_host
        self._scheme = scheme
        self._private_too = private_too
        self._deadline = time.monotonic() + TOTAL_SECONDS
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._resolve(host, port)
        require_allowed(addresses, self._scheme, private_too=self._private_too)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        connect_by = min(self._deadline, time.monotonic() + CONNECT_SECONDS)
        for address in addresses:
            try:
                left = _left(connect_by, httpcore.ConnectTimeout)
                stream = self._sockets.connect_tcp(address, port, left)
                return _Bounded(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Bounded(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline, however slowly bytes drip in."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float):
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, late: type[Exception]) -> float:
    """Seconds until the deadline; raises `late` past it: a timeout of 0 would wait for nothing."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise late(f"no answer within {TOTAL_SECONDS:g} s")
    return left


def _system_tls() -> ssl.SSLContext:
    """Certificates of httpcore's bundle, and of the system or `SSL_CERT_FILE`."""
    context: ssl.SSLContext = httpcore.default_ssl_context()
    context.load_default_certs()
    return context


def _answer(status: int, headers: list[tuple[bytes, bytes]]) -> Answer:
    if 200 <= status < 300:
        return Answer(status, None)
    asked = next((value for name, value in headers if name.lower() == b"retry-after"), None)
    seconds = _seconds(asked.decode("latin-1")) if asked and status in (429, 503) else None
    return Answer(status, f"the answer was HTTP {status}", seconds)


def _seconds(retry_after: str) -> float | None:
    """Of a number of seconds or a date (RFC 9110 §10.2.3); None for anything else."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
