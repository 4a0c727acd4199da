"""Downloads and streams pass through the dashboard as they come."""

import asyncio
from typing import Any

from starlette.requests import Request

from api_schemas import examples
from api_schemas.groups import Key
from service.dashboard.forwarding import Forwarded
from service.dashboard.sessions import new_session

SESSION = new_session("tt_grp_secret", Key.model_validate(examples.KEY))


def _scope(app: Any, **headers: str) -> dict[str, Any]:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "method": "GET",
        "path": "/dashboard/models/mdl_1/adapter.zip",
        "headers": sent,
        "query_string": b"secret=1",
        "path_params": {"model_id": "mdl_1"},
        "app": app,
    }


async def _answer(
    app: Any, receive: Any, send: Any, body: bytes | None = None, **headers: str
) -> None:
    scope = _scope(app, **headers)
    forwarded = Forwarded(Request(scope), SESSION, "/v1/asked", body=body, filename="a.json")
    await forwarded(scope, receive, send)


def test_a_piece_is_with_the_browser_before_the_next_is_made() -> None:
    """The application waits for the first piece to arrive: held back, it would wait for ever."""

    async def run() -> list[bytes]:
        arrived = asyncio.Event()
        got: list[bytes] = []

        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await arrived.wait()
            await send({"type": "http.response.body", "body": b"second"})

        async def send(message: Any) -> None:
            got.append(message.get("body", b""))
            if message.get("body") == b"first":
                arrived.set()

        async with asyncio.timeout(10):
            await _answer(app, None, send)
        return got

    assert asyncio.run(run()) == [b"", b"first", b"second"]


def test_the_api_is_told_the_key_and_the_range_and_nothing_else_of_the_browser() -> None:
    asked: list[dict[str, Any]] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope | {"received": [await receive(), await receive()]})
        await send({"type": "http.response.start", "status": 206, "headers": []})

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"cookie": "truthtune_session=x", "range": "bytes=0-9", "x_csrf_token": "y"}
    asyncio.run(_answer(app, receive, send, b"{}", **given))
    (scope,) = asked
    assert (scope["method"], scope["path"], scope["query_string"]) == ("POST", "/v1/asked", b"")
    assert dict(scope["headers"]) == {
        b"range": b"bytes=0-9",
        b"authorization": b"Bearer tt_grp_secret",
        b"content-type": b"application/json",
        b"content-length": b"2",
    }
    assert "path_params" not in scope
    body, end = scope["received"]
    assert (body["body"], body["more_body"]) == (b"{}", False)
    assert end == {"type": "http.disconnect"}
    headers = dict(sent[0]["headers"])
    assert headers[b"content-disposition"] == b'attachment; filename="a.json"'
    assert headers[b"cache-control"] == b"private, no-cache"


def test_a_refusal_is_not_saved_as_the_file() -> None:
    sent: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(_answer(app, None, send))
    assert b"content-disposition" not in dict(sent[0]["headers"])
