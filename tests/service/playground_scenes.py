"""The real inference process on a backend that writes without a model, and servers in threads."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from workers.serving.requests import End, Failure, GenerationRequest, ServedBase, Text

END = End(finish_reason="length", prompt_tokens=3, completion_tokens=2)


class Writer:
    """A backend that writes what it is told, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[GenerationRequest] = []
        self.answer: list[Text | End | Failure | Exception] = [
            Text(text="blue "),
            Text(text="sun"),
            END,
        ]
        self.endless = False
        self.ended = threading.Event()

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def deploy(self, name: str, base: ServedBase) -> Any: ...

    def delete(self, name: str) -> None: ...

    async def generate(
        self, handle: Any, request: GenerationRequest
    ) -> AsyncGenerator[Text | End | Failure, None]:
        self.asked.append(request)
        try:
            for event in self.answer:
                if isinstance(event, Exception):
                    raise event
                yield event
            if self.endless:
                await asyncio.Event().wait()
        finally:
            self.ended.set()


@contextmanager
def served(server: uvicorn.Server, sockets: Any = None) -> Iterator[None]:
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets})
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
