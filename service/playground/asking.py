"""Asking the inference process for an answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import httpx

from api_schemas.errors import Unavailable
from service.dependencies import AppState
from service.playground import channel
from workers.serving.requests import EVENT, End, Failure, GenerationRequest, Text

_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Answer:
    """An answer that is whole."""

    text: str
    end: End


async def events(state: AppState, asked: GenerationRequest) -> AsyncGenerator[Text | End, None]:
    """The answer as it is written; closing the generator ends the generation.

    Raises Unavailable if no inference process answers, or has no room, and whatever error it names.
    """
    try:
        async with (
            _client(state) as client,
            client.stream("POST", channel.PATH, content=asked.model_dump_json()) as response,
        ):
            if not response.is_success:
                raise Unavailable(
                    f"the inference process refused the API (HTTP {response.status_code}): both "
                    "must be of one version and have one TRUTHTUNE_KEY_SECRET or TRUTHTUNE_HOME",
                    code="inference_refused",
                )
            async for line in response.aiter_lines():
                event = EVENT.validate_json(line)
                if isinstance(event, Failure):
                    raise _error_of(event)
                yield event
                if isinstance(event, End):
                    return
    except httpx.ConnectError as error:
        raise Unavailable(
            "no inference process answers: the operator starts one with `truthtune up` or "
            "`truthtune inference`",
            code="inference_not_running",
        ) from error
    except httpx.TransportError as error:
        raise _broken_off() from error
    raise _broken_off()


async def whole(state: AppState, asked: GenerationRequest) -> Answer:
    """The answer once it is written. Raises what `events` does."""
    pieces: list[str] = []
    async with aclosing(events(state, asked)) as written:
        async for event in written:
            if isinstance(event, End):
                return Answer("".join(pieces), event)
            pieces.append(event.text)
    raise _broken_off()


def _client(state: AppState) -> httpx.AsyncClient:
    url = state.settings.inference_url
    uds = None if url is not None else str(channel.socket_path(state.settings))
    return httpx.AsyncClient(
        # To read the machine's certificates takes longer than to connect; a socket needs none.
        transport=httpx.AsyncHTTPTransport(uds=uds, verify=(url or "").startswith("https")),
        base_url=url or "http://inference",
        headers={"Authorization": f"Bearer {channel.secret_of(state.key_secret)}"},
        timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
    )


def _error_of(failure: Failure) -> Exception:
    if failure.status == Unavailable.status:
        return Unavailable(failure.message, code=failure.code, param=failure.param)
    return failure.error()


def _broken_off() -> Unavailable:
    return Unavailable("the inference process ended in the middle", code="inference_broke_off")
