"""JSON bodies of requests, read strictly."""

import json
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response

from api_schemas.strict_json import NotJsonError, parse_json
from service.routing import Route

# PostgreSQL's text can't hold U+0000, and a lone surrogate can't be written as UTF-8.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class StrictRoute(Route):
    """A route whose JSON body may hold nothing ambiguous, and no text that can't be stored."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return _read(await self.body())
        except NotJsonError as error:
            # Of all errors while reading, FastAPI passes on only this one's reason.
            raise json.JSONDecodeError(str(error), "", 0) from None


def _read(body: bytes) -> Any:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise NotJsonError(f"not UTF-8 at byte {error.start + 1}") from None
    value = parse_json(text)
    if "\\u" in text:  # strict JSON has these characters as escapes only
        for string in _strings(value):
            if found := _UNSTORABLE.search(string):
                raise NotJsonError(
                    f"the text {string[:100]!r} holds U+{ord(found[0]):04X}, which can't be stored"
                )
    return value


def _strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in (*value, *value.values()):
            yield from _strings(item)
