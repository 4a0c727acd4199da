"""How large the body of a request may be, how long it may take to come, and an answer to begin."""

import asyncio
import time
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import RETRY_SECONDS, problem_response

JSON_BYTES = 4 * 2**20
"""4 MiB: the largest report, 32 features of 500 long words, is about 1.6 million characters."""

MULTIPART_BYTES = 64 * 2**10
"""What a multipart body may hold beside its file: boundaries, headers, small fields."""

BODY_SECONDS = 60.0
BODY_BYTES_PER_SECOND = 64 * 2**10
"""Half a megabit: slower than that a body is not sent but held open."""

STATEMENT_SECONDS = 60.0
"""For one statement of a request in the database: a thousand times what the longest takes."""

HANDLING_SECONDS = 120.0
"""From a request's last byte to the first of its answer: checking the largest upload takes half."""


class BodyLimit:
    """Stops reading a body at its limit, whatever its length header says; the answer is 413.

    A body may take BODY_SECONDS, and one more for each 64 KiB that came; then the answer is 408.
    `by_path` holds the limits of paths that take more than JSON.
    """

    def __init__(self, app: ASGIApp, by_path: dict[str, int]):
        self.app = app
        self.by_path = by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.by_path.get(scope["path"], JSON_BYTES)
        await self.app(scope, _Body(scope, receive, limit).receive, send)


class _Body:
    """The body of one request as it comes in."""

    def __init__(self, scope: Scope, receive: Receive, limit: int):
        self._receive = receive
        self._limit = limit
        announced = Headers(scope=scope).get("content-length", "")
        self._too_large = announced.isdecimal() and int(announced) > limit
        self._received = 0
        self._complete = False
        self._started = time.monotonic()

    async def receive(self) -> Message:
        # HTTPExceptions, since FastAPI makes a 400 of any other error while reading.
        if not self._too_large:
            message = await self._next()
            self._received += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            self._too_large = self._received > self._limit
            if not self._too_large:
                return message
        raise HTTPException(413, f"the request's body is larger than {self._limit} bytes")

    async def _next(self) -> Message:
        if self._complete:  # what comes now is the end of the connection, for which streams wait
            return await self._receive()
        allowed = BODY_SECONDS + self._received / BODY_BYTES_PER_SECOND
        try:
            async with asyncio.timeout(self._started + allowed - time.monotonic()):
                return await self._receive()
        except TimeoutError:
            raise HTTPException(
                408,
                f"of the request's body {self._received} bytes came in {allowed:.0f} s; it may "
                f"take {BODY_SECONDS:g} s, and one more for each {BODY_BYTES_PER_SECOND} bytes",
                headers={"Connection": "close"},
            ) from None


class HandlingLimit:
    """Answers 503 when nothing else has, HANDLING_SECONDS after the last piece of a request.

    A thread can't be stopped from outside: it ends by itself, at the latest by STATEMENT_SECONDS,
    and what it then answers is dropped. Like an answer that got lost, this one leaves open whether
    the request was carried out; an Idempotency-Key makes it safe to ask again.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(scope, receive, send)
        try:
            await self.app(scope, answer.receive, answer.send)
        finally:
            await answer.close()


class _Answer:
    """The answer to one request: from the application or, in its stead, from the time limit."""

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self._scope, self._receive, self._send = scope, receive, send
        self._begun = False
        self._excuse: asyncio.Task[None] | None = None
        self._wait()

    async def receive(self) -> Message:
        message = await self._receive()
        if not self._begun and self._excuse is None:
            self._timer.cancel()
            self._wait()
        return message

    async def send(self, message: Message) -> None:
        if self._excuse is None:
            self._begun = True
            self._timer.cancel()
            await self._send(message)

    async def close(self) -> None:
        self._timer.cancel()
        if self._excuse is not None:
            await self._excuse

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HANDLING_SECONDS, self._give_up)

    def _give_up(self) -> None:
        response = problem_response(
            self._scope.get("state", {}).get("request_id"),
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"the request was not handled within {HANDLING_SECONDS:g} s; whether it was carried "
            "out is open: ask again with the same Idempotency-Key, or look",
            "handling_timeout",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
        self._excuse = asyncio.create_task(response(self._scope, self._receive, self._send))
