"""One connection to the service: authenticated, retried where that is safe, errors by name."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel

from api_schemas.errors import TruthtuneError
from client.problems import Unreachable, error_of
from client.retries import backoff, delay_before_retry, is_safe, may_be_sent_again
from client.transports import Transport

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Incoming:
    """A response of any 2xx status, its body yet to be read."""

    status: int
    headers: httpx.Headers
    chunks: AsyncIterator[bytes]


class Connection:
    """Sends requests under `base_url`; every failure is a `TruthtuneError`.

    A request is sent again, `retries` times at most, after 429, and after 502, 503, 504 or a lost
    connection if that can't do its work twice: GET, PUT, DELETE, or a POST with an Idempotency-Key.
    The answer's `x-should-retry` and `Retry-After` decide where they are given.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        transport: Callable[..., Transport],
        *,
        timeout: float,
        retries: int,
    ):
        self._retries = retries
        try:
            self._transport = transport(
                base_url=base_url.rstrip("/"),
                headers={"Authorization": f"Bearer {api_key}", "User-Agent": "truthtune-python"},
                timeout=timeout,
            )
        except (httpx.InvalidURL, UnicodeEncodeError, ValueError) as error:
            raise Unreachable(
                f"base_url {base_url!r} or the API key is malformed: {error}"
            ) from None

    @property
    def blocking(self) -> bool:
        """Whether its coroutines never suspend."""
        return self._transport.blocking

    async def close(self) -> None:
        await self._transport.close()

    async def sleep(self, seconds: float) -> None:
        await self._transport.sleep(seconds)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The result of a function that may take long, of disk or processor."""
        return await self._transport.run(function, *arguments)

    async def get(
        self, kind: type[Body], path: str, params: Mapping[str, Any] | None = None
    ) -> Body:
        return await self._ask(kind, "GET", path, params=params)

    async def put(self, kind: type[Body], path: str, body: BaseModel) -> Body:
        return await self._ask(kind, "PUT", path, json=_dumped(body))

    async def patch(self, kind: type[Body], path: str, body: BaseModel) -> Body:
        return await self._ask(kind, "PATCH", path, json=_dumped(body))

    async def delete(self, kind: type[Body], path: str) -> Body:
        return await self._ask(kind, "DELETE", path)

    async def act(self, kind: type[Body], path: str, body: BaseModel | None = None) -> Body:
        """A POST that the service can't recognise when it comes again."""
        return await self._ask(kind, "POST", path, json=_dumped(body))

    async def create(
        self,
        kind: type[Body],
        path: str,
        body: BaseModel | None = None,
        idempotency_key: str | None = None,
        **arguments: Any,
    ) -> Body:
        """A POST that makes one thing however often it is sent; a key is made if none is given."""
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return await self._ask(kind, "POST", path, headers=headers, json=_dumped(body), **arguments)

    async def content(self, path: str) -> bytes:
        """The bytes of what is no JSON."""
        return await self._send("GET", path, {})

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[Incoming]:
        """The answer to a GET as it comes. Only getting that far is retried."""
        response = await self._first_good("GET", path, {"headers": headers}, read=False)
        try:
            chunks = self._transport.chunks(response)
            yield Incoming(response.status_code, response.headers, chunks)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        finally:
            await self._transport.end(response)

    async def _ask(self, kind: type[Body], method: str, path: str, **arguments: Any) -> Body:
        return parsed(kind, await self._send(method, path, arguments), f"{method} {path}")

    async def _send(self, method: str, path: str, arguments: dict[str, Any]) -> bytes:
        return (await self._first_good(method, path, arguments, read=True)).content

    async def _first_good(
        self, method: str, path: str, arguments: dict[str, Any], read: bool
    ) -> httpx.Response:
        given = {key: value for key, value in arguments.items() if value is not None}
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            request = self._transport.http.build_request(method, path, **given)
            safe = is_safe(request)
            try:
                response = await self._answer(request, read)
            except httpx.TransportError as error:
                if last or not may_be_sent_again(error, safe):
                    raise self._unreachable(error) from error
                await self.sleep(backoff(attempt))
                continue
            if response.is_success:
                return response
            delay = delay_before_retry(response, safe, attempt)
            if last or delay is None:
                raise error_of(response.status_code, response.content)
            await self.sleep(delay)
        raise AssertionError("the loop returns or raises")

    async def _answer(self, request: httpx.Request, read: bool) -> httpx.Response:
        """An error's body is always read: it says what is wrong."""
        response = await self._transport.send(request)
        try:
            if read or not response.is_success:
                await self._transport.read(response)
        except BaseException:  # a task that is cancelled, too, gives its connection back
            await self._transport.end(response)
            raise
        return response

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(
            f"{self._transport.http.base_url} can't be reached ({type(error).__name__}: {error}); "
            "is the service running there?"
        )


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
