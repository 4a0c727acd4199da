"""An answer of the API handed on to the browser as it comes: downloads and streams.

Nothing of it is held in memory, and a Range is answered as the API answers it.
"""

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.dashboard.api import require_own_path
from service.dashboard.sessions import Session

_PASSED_ON = (b"accept", b"host", b"if-none-match", b"if-range", b"range")
"""Headers of the browser that the API is told; the cookie is not, which it doesn't know."""

_SAME = ("type", "asgi", "http_version", "scheme", "server", "client", "root_path", "extensions")


class Forwarded(Response):
    """What the API answers to the session's key at `path`; with a `body`, to a POST of that JSON.

    A failure is the API's problem document: ask first for what a page should tell in words.
    """

    def __init__(
        self,
        request: Request,
        session: Session,
        path: str,
        *,
        body: bytes | None = None,
        filename: str | None = None,
    ):
        super().__init__()
        require_own_path(path)
        self._app = request.app
        self._path = path
        self._body = body
        self._filename = filename
        kept = [(name, value) for name, value in request.headers.raw if name in _PASSED_ON]
        self._asked_with = [*kept, (b"authorization", f"Bearer {session.secret}".encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._complete(message)
            await send(message)

        await self._app(self._scope(scope), self._receive(receive), completed)

    def _scope(self, scope: Scope) -> dict[str, Any]:
        """A request of its own: nothing that the page's request was noted with is in it."""
        headers = self._asked_with
        if self._body is not None:
            length = str(len(self._body)).encode()
            headers = [
                *headers,
                (b"content-type", b"application/json"),
                (b"content-length", length),
            ]
        return {
            **{name: scope[name] for name in _SAME if name in scope},
            "method": "GET" if self._body is None else "POST",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "headers": headers,
        }

    def _receive(self, receive: Receive) -> Receive:
        """The body first; after it the browser's own end, at which a stream stops."""
        given = False

        async def next_message() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": self._body or b"", "more_body": False}

        return next_message

    def _complete(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers.setdefault("Cache-Control", "private, no-cache")
        if self._filename is not None and message["status"] < 300:
            headers["Content-Disposition"] = f'attachment; filename="{self._filename}"'
