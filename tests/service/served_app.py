"""The application behind a real socket, in a thread of this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from service.server import uvicorn_options
from service.settings import Settings


@contextmanager
def serve_app(app: FastAPI, settings: Settings) -> Iterator[int]:
    """As `truthtune serve` serves it, on a free port, which is given."""
    options = uvicorn_options(settings.model_copy(update={"port": 0}))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
