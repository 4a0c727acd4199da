"""The API in a process of its own, on a real socket."""

import socket
import time
from typing import Any

import httpx
import uvicorn
from lives import with_routes_at_hand

from service.app import create_app
from service.server import uvicorn_options
from service.settings import Settings

_ENOUGH_SECONDS = 60.0


def serve(settings: dict[str, Any], port: int) -> None:
    """Until SIGTERM."""
    with_routes_at_hand()
    found = Settings.model_validate(settings | {"port": port})
    uvicorn.run(create_app(found), log_level="warning", **uvicorn_options(found))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + _ENOUGH_SECONDS
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"no API on port {port}"
        time.sleep(0.02)
