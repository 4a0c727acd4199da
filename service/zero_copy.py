"""Files from the disk's cache to the socket, past this process: the ASGI extension
`http.response.zerocopysend`, which uvicorn lacks."""

import asyncio
import os
import select
import time

import anyio
import h11
from anyio.lowlevel import RunVar
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

EXTENSION = "http.response.zerocopysend"
_PIECE_BYTES = 4 * 2**20
_TURN_SECONDS = 0.2
"""How long a thread sends one file before another file has its turn."""

_WAIT_MILLISECONDS = 5
"""How long it waits for a client that reads nearly as fast; for a slower one no thread waits."""

_THREADS = 4
"""As many send files at most, so that downloads leave the others to requests."""

_senders: RunVar[anyio.CapacityLimiter] = RunVar("_senders")


def offering(app: ASGIApp, protocol: H11Protocol) -> ASGIApp:
    """The application of one connection, told that it may send files, unless TLS is between."""

    async def offered(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == EXTENSION:
                await _send_file(protocol, message)
                message = {"type": "http.response.body", "more_body": message["more_body"]}
            await send(message)

        if scope["scheme"] == "http" and scope["method"] != "HEAD":
            scope.setdefault("extensions", {})[EXTENSION] = {}
        await app(scope, receive, sent)

    return offered


class _Counted:
    """Stands for bytes that are sent elsewhere where HTTP's framing counts them."""

    def __init__(self, count: int):
        self._count = count

    def __len__(self) -> int:
        return self._count


async def _send_file(protocol: H11Protocol, message: Message) -> None:
    """Raises OSError for a file that is shorter than the message's `count`."""
    count = message["count"]
    counted = h11.Data(data=_Counted(count))  # type: ignore[arg-type]  # as h11 documents
    protocol.conn.send_with_data_passthrough(counted)
    transport = protocol.transport
    transport.set_write_buffer_limits(high=0)
    try:
        await protocol.flow.drain()  # the headers go first
        if transport.is_closing():
            return
        # A descriptor of our own: the transport may close its own at any moment.
        socket = os.dup(transport.get_extra_info("socket").fileno())
        try:
            await _copy(socket, message["file"].fileno(), message["offset"], count)
        finally:
            os.close(socket)
    except ConnectionError:  # the client has gone
        transport.abort()
    finally:
        transport.set_write_buffer_limits()


async def _copy(socket: int, file: int, offset: int, count: int) -> None:
    """A thread does it, since a file may have to come from the disk first."""
    end = offset + count
    while offset < end:
        offset += await anyio.to_thread.run_sync(
            _send_for_a_while, socket, file, offset, end, limiter=_limiter()
        )
        if offset < end:
            await _writable(socket)


def _send_for_a_while(socket: int, file: int, offset: int, end: int) -> int:
    """The bytes sent until the end, the end of this file's turn, or the client doesn't keep up."""
    started, start = time.monotonic(), offset
    waiting = select.poll()
    waiting.register(socket, select.POLLOUT)
    while offset < end and time.monotonic() < started + _TURN_SECONDS:
        if not waiting.poll(_WAIT_MILLISECONDS):
            break
        sent = os.sendfile(socket, file, offset, min(_PIECE_BYTES, end - offset))
        if sent == 0:
            raise OSError("the file is shorter than its record says")
        offset += sent
    return offset - start


async def _writable(socket: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(socket, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(socket)


def _limiter() -> anyio.CapacityLimiter:
    """One for each event loop."""
    limiter = _senders.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_THREADS)
        _senders.set(limiter)
    return limiter
