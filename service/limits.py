"""The largest body a request may have."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON_BYTES = 4 * 2**20
"""4 MiB: the largest report, 32 features of 500 long words, is about 1.6 million characters."""

MULTIPART_BYTES = 64 * 2**10
"""What a multipart body may hold beside its file: boundaries, headers, small fields."""


class BodyLimit:
    """Stops reading a body at its limit, whatever its length header says; the answer is 413.

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
        announced = Headers(scope=scope).get("content-length", "")
        received = int(announced) if announced.isdecimal() and int(announced) > limit else 0

        async def limited() -> Message:
            nonlocal received
            if received <= limit:
                message = await receive()
                received += len(message.get("body", b""))
                if received <= limit:
                    return message
            # An HTTPException, since FastAPI makes a 400 of any other error while reading.
            raise HTTPException(413, f"the request's body is larger than {limit} bytes")

        await self.app(scope, limited, send)
