"""Headers that every response carries, whatever made it."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_NOTHING_RUNS = "default-src 'none'; frame-ancestors 'none'"
_DASHBOARD = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Its own scripts and styles alone; `data:` for the icons within the style sheet."""

_NO_FRAMES = "frame-ancestors 'none'"
_PAGES = ("/docs", "/redoc")
"""FastAPI's own pages load their scripts from elsewhere; nothing of ours is in them."""

_STRICT_TRANSPORT = "max-age=31536000"


class ResponseHeaders:
    """Middleware: what browsers and caches must not do with an answer, and the rate limit.

    A header that the response has already is left as it is.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                _complete(MutableHeaders(scope=message), scope)
            await send(message)

        await self.app(scope, receive, completed)


def _complete(headers: MutableHeaders, scope: Scope) -> None:
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    headers.setdefault("Content-Security-Policy", _policy(scope["path"]))
    if "authorization" in Headers(scope=scope) and "json" in headers.get("content-type", ""):
        headers.setdefault("Cache-Control", "no-store")
    if scope["scheme"] == "https":
        headers.setdefault("Strict-Transport-Security", _STRICT_TRANSPORT)
    if limit := scope.get("state", {}).get("rate_limit"):
        per_minute, left = limit
        # draft-ietf-httpapi-ratelimit-headers-10; "key" names the policy, of this key alone.
        headers["RateLimit-Policy"] = f'"key";q={per_minute};w=60'
        headers["RateLimit"] = f'"key";r={left}'


def _policy(path: str) -> str:
    if path.startswith("/dashboard"):
        return _DASHBOARD
    return _NO_FRAMES if path.startswith(_PAGES) else _NOTHING_RUNS
