"""How requests go out and time passes: by blocking the thread, or by waiting in an event loop.

Both speak in coroutines. Those of `BlockingTransport` never suspend, on which `modes` relies.
"""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import httpx

Result = TypeVar("Result")


class BlockingTransport:
    """Many threads may use it at once: `httpx.Client` is made for that."""

    blocking = True

    def __init__(self, **settings: Any):
        self.http = httpx.Client(**settings)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The response with its body yet to be read."""
        return self.http.send(request, stream=True)

    async def read(self, response: httpx.Response) -> None:
        response.read()

    async def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        for chunk in response.iter_bytes():
            yield chunk

    async def end(self, response: httpx.Response) -> None:
        response.close()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The result of a function that may take long."""
        return function(*arguments)

    async def close(self) -> None:
        self.http.close()


class AsyncTransport:
    """For one event loop. asyncio is imported as it is needed: the other client goes without."""

    blocking = False

    def __init__(self, **settings: Any):
        self.http = httpx.AsyncClient(**settings)

    async def send(self, request: httpx.Request) -> httpx.Response:
        return await self.http.send(request, stream=True)

    async def read(self, response: httpx.Response) -> None:
        await response.aread()

    async def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        async for chunk in response.aiter_bytes():
            yield chunk

    async def end(self, response: httpx.Response) -> None:
        await response.aclose()

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """In a thread, so that the loop goes on. If the waiting task is cancelled, the function
        still runs to its end: give it nothing that others use meanwhile."""
        import asyncio

        return await asyncio.to_thread(function, *arguments)

    async def close(self) -> None:
        await self.http.aclose()


Transport = BlockingTransport | AsyncTransport
