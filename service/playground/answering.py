"""An answer over HTTP: whole or streamed, within the time a request has, for as long as someone
listens."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from api_schemas.errors import TruthtuneError
from service.dependencies import AppState
from service.errors import problem_response, request_id_of
from service.limits import HANDLING_SECONDS
from service.playground import asking, formats
from workers.serving.requests import End, GenerationRequest, Text

ANSWER_SECONDS = HANDLING_SECONDS - 10
"""For an answer that is not streamed to be whole, or for a stream's first piece."""

_CLIENT_CLOSED_REQUEST = 499

Result = TypeVar("Result")


class _ClientGone(Exception):
    """Whoever asked has closed the connection."""


async def respond(
    request: Request,
    state: AppState,
    asked: GenerationRequest,
    form: formats.Format,
    *,
    stream: bool,
    include_usage: bool = False,
) -> Response:
    """Raises what `asking.events` does, as long as no byte of the answer was sent."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            if stream:
                return await _unless_gone(request, _streamed(state, asked, form, include_usage))
            answer = await _unless_gone(request, asking.whole(state, asked))
    except _ClientGone:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)  # nobody reads it
    except TimeoutError:
        return _too_slow(request)
    return Response(form.whole(answer).model_dump_json(), media_type="application/json")


def _too_slow(request: Request) -> Response:
    return problem_response(
        request_id_of(request),
        504,
        f"the answer took more than {ANSWER_SECONDS:g} s; ask with stream: true, or for fewer "
        "max_tokens",
        "answer_timeout",
        headers={"x-should-retry": "false"},
        for_openai=True,
    )


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is ended when the client closes the connection."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_until_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _ClientGone
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _streamed(
    state: AppState, asked: GenerationRequest, form: formats.Format, include_usage: bool
) -> Response:
    """Waits for the first event, because after that no status can tell of a failure."""
    events = asking.events(state, asked)
    try:
        first = await anext(events)
    except BaseException:
        await events.aclose()
        raise
    chunks = _chunks(first, events, form, include_usage)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(chunks, media_type="text/event-stream", headers=headers)


async def _chunks(
    first: Text | End,
    events: AsyncGenerator[Text | End, None],
    form: formats.Format,
    include_usage: bool,
) -> AsyncIterator[str]:
    async with aclosing(events):
        for chunk in form.opening():
            yield formats.sse(chunk)
        try:
            event = first
            while isinstance(event, Text):
                yield formats.sse(form.piece(event.text))
                event = await anext(events)
        except TruthtuneError as error:
            yield formats.sse_error(error)
            return
    yield formats.sse(form.closing(event))
    if include_usage:
        yield formats.sse(form.usage(event))
    yield formats.DONE
