"""How uvicorn serves the application: what a connection may do before a request is whole."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service import zero_copy
from service.settings import Settings

HEADER_BYTES = 16 * 2**10
HEADER_SECONDS = 20.0
"""For a request's first line and headers to come, from the connection or their first byte on."""


class TimedHeaders(H11Protocol):
    """Closes a connection whose request does not come: uvicorn itself would wait for ever. Lets the
    application send files without a copy."""

    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = zero_copy.offering(self.app, self)  # type: ignore[arg-type,assignment]
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._header_timer is None:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """The arguments of uvicorn's `Config`, but for the application."""
    return {
        "host": settings.host,
        "port": settings.port,
        "http": TimedHeaders,
        "ws": "none",
        "h11_max_incomplete_event_size": HEADER_BYTES,
        "limit_concurrency": settings.max_connections,
        "server_header": False,
        "access_log": False,  # service.logs writes one line a request
        "timeout_graceful_shutdown": 5,  # event streams would keep it waiting for ever
    }
