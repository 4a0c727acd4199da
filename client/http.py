"""One connection to the service: authenticated, retried where that is safe, errors by name."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel

from api_schemas.errors import TruthtuneError
from client.problems import Unreachable, error_of

Body = TypeVar("Body", bound=BaseModel)

_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_TRANSIENT = frozenset({502, 503, 504})
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 8.0
_LONGEST_RETRY_AFTER_SECONDS = 60.0
"""A service that asks for more gets an error instead: the caller should know, not hang."""


class Connection:
    """Sends requests under `base_url`; every failure is a `TruthtuneError`.

    A request is sent again, `retries` times at most, after 429, and after 502, 503, 504 or a lost
    connection if that can't do its work twice: GET, PUT, DELETE, or a POST with an Idempotency-Key.
    The answer's `x-should-retry` and `Retry-After` decide where they are given.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout: float, retries: int):
        self._retries = retries
        try:
            self._http = httpx.Client(
                base_url=base_url.rstrip("/"),
                headers={"Authorization": f"Bearer {api_key}", "User-Agent": "truthtune-python"},
                timeout=timeout,
            )
        except (httpx.InvalidURL, UnicodeEncodeError, ValueError) as error:
            raise Unreachable(
                f"base_url {base_url!r} or the API key is malformed: {error}"
            ) from None

    def close(self) -> None:
        self._http.close()

    def get(self, kind: type[Body], path: str, params: Mapping[str, Any] | None = None) -> Body:
        return self._ask(kind, "GET", path, params=params)

    def put(self, kind: type[Body], path: str, body: BaseModel) -> Body:
        return self._ask(kind, "PUT", path, json=_dumped(body))

    def patch(self, kind: type[Body], path: str, body: BaseModel) -> Body:
        return self._ask(kind, "PATCH", path, json=_dumped(body))

    def delete(self, kind: type[Body], path: str) -> Body:
        return self._ask(kind, "DELETE", path)

    def act(self, kind: type[Body], path: str, body: BaseModel | None = None) -> Body:
        """A POST that the service can't recognise when it comes again."""
        return self._ask(kind, "POST", path, json=_dumped(body))

    def create(
        self,
        kind: type[Body],
        path: str,
        body: BaseModel | None = None,
        idempotency_key: str | None = None,
        **arguments: Any,
    ) -> Body:
        """A POST that makes one thing however often it is sent; a key is made if none is given."""
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return self._ask(kind, "POST", path, headers=headers, json=_dumped(body), **arguments)

    def send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """The response, read whole, of any 2xx status."""
        return self._first_good(method, path, arguments, read=True)

    def _ask(self, kind: type[Body], method: str, path: str, **arguments: Any) -> Body:
        content = self.send(method, path, **arguments).content
        return parsed(kind, content, f"{method} {path}")

    @contextmanager
    def stream(self, method: str, path: str, **arguments: Any) -> Iterator[httpx.Response]:
        """The response with its body yet to be read. Only getting that far is retried."""
        response = self._first_good(method, path, arguments, read=False)
        try:
            yield response
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        finally:
            response.close()

    def _first_good(
        self, method: str, path: str, arguments: dict[str, Any], read: bool
    ) -> httpx.Response:
        given = {key: value for key, value in arguments.items() if value is not None}
        safe = method in _IDEMPOTENT_METHODS or "Idempotency-Key" in given.get("headers", {})
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = self._answer(self._http.build_request(method, path, **given), read)
            except httpx.TransportError as error:
                if last or not isinstance(error, _LOST if safe else _NEVER_SENT):
                    raise _unreachable(self._http.base_url, error) from error
                time.sleep(_backoff(attempt))
                continue
            if response.is_success:
                return response
            delay = _retry_delay(response, attempt)
            if last or delay is None or not _should_retry(response, safe):
                raise error_of(response.status_code, response.content)
            time.sleep(delay)
        raise AssertionError("the loop returns or raises")

    def _answer(self, request: httpx.Request, read: bool) -> httpx.Response:
        """An error's body is always read: it says what is wrong."""
        response = self._http.send(request, stream=True)
        try:
            if read or not response.is_success:
                response.read()
        except httpx.TransportError:
            response.close()
            raise
        return response


def _dumped(body: BaseModel | None) -> Any:
    return None if body is None else body.model_dump(mode="json")


def parsed(kind: type[Body], content: str | bytes, source: str) -> Body:
    """A newer service may say more than this client knows: unknown fields are passed over."""
    try:
        return kind.model_validate_json(content, extra="ignore")
    except ValueError as error:
        raise TruthtuneError(
            f"{source} answered something that is no {kind.__name__}: {error}",
            code="unexpected_answer",
        ) from error


def _should_retry(response: httpx.Response, safe: bool) -> bool:
    asked = response.headers.get("x-should-retry")
    if asked in ("true", "false"):
        return bool(asked == "true")
    return response.status_code == 429 or (safe and response.status_code in _TRANSIENT)


def _retry_delay(response: httpx.Response, attempt: int) -> float | None:
    """Seconds to wait; None if the service asks for longer than is worth waiting for."""
    asked = response.headers.get("retry-after", "")
    if not asked.isdecimal():  # absent, or a date, which needs clocks that agree
        return _backoff(attempt)
    return float(asked) if float(asked) <= _LONGEST_RETRY_AFTER_SECONDS else None


def _backoff(attempt: int) -> float:
    """Doubles up to a bound; the random half keeps many clients from coming back at once."""
    longest = min(_FIRST_DELAY_SECONDS * 2.0**attempt, _LONGEST_DELAY_SECONDS)
    return longest * (0.5 + random.random() / 2)


def _unreachable(base_url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    return Unreachable(
        f"{base_url} can't be reached ({type(error).__name__}: {error}); is the service running "
        "there?"
    )
