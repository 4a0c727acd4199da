"""The inference process: writes answers for the API, and holds nothing until the first.

It has no database: whatever it is asked for by the API's secret has been permitted already.
"""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog
import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from api_schemas.errors import TruthtuneError, Unavailable
from service.key_secret import load_key_secret
from service.log_lines import configure
from service.playground import channel
from service.settings import Settings
from workers.serving.requests import End, Failure, GenerationRequest, Text

if TYPE_CHECKING:
    from workers.serving.engine import Backend, Engine

_LOOK_SECONDS = 15.0
"""How often it looks whether it is idle; more would wake a machine that has nothing to do."""

log = structlog.get_logger()


def run(settings: Settings) -> None:
    """Answer until SIGINT or SIGTERM."""
    configure()
    listening = channel.listening_socket(settings)
    config = uvicorn.Config(
        create_app(settings),
        loop="asyncio",
        http="h11",
        ws="none",
        log_level=logging.WARNING,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    log.info("inference_started", at=settings.inference_url or str(channel.socket_path(settings)))
    uvicorn.Server(config).run(sockets=[listening])


def create_app(
    settings: Settings, make_backend: "Callable[[], Backend] | None" = None
) -> Starlette:
    from workers.serving.engine import Engine

    secret = channel.secret_of(load_key_secret(settings))

    def ray_serve() -> "Backend":
        from workers.serving.ray_serve import RayServe  # torch and Ray, seconds to import

        return RayServe(
            settings.resolved_artifacts_url,
            settings.ray_address,
            settings.inference_concurrency,
        )

    engine = Engine(make_backend or ray_serve, settings.inference_concurrency)

    async def generate(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), secret.encode()):
            return PlainTextResponse("this answers the API alone", 401)
        try:
            asked = GenerationRequest.model_validate_json(await request.body())
        except ValidationError as error:  # an API of another version
            return PlainTextResponse(str(error.errors(include_input=False)), 422)
        return StreamingResponse(_lines(engine, asked), media_type="application/x-ndjson")

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(_end_when_idle(engine, settings.inference_idle_seconds))
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            await engine.shutdown()

    return Starlette(routes=[Route(channel.PATH, generate, methods=["POST"])], lifespan=lifespan)


async def _lines(engine: "Engine", asked: GenerationRequest) -> AsyncIterator[str]:
    """The answer's events, one a line; the last one ends it, or says why it ends."""
    try:
        async with aclosing(engine.generate(asked)) as events:
            async for event in events:
                yield _line(event)
    except TruthtuneError as error:
        yield _line(Failure.of(error))
    except Exception:
        log.exception("generation_failed")
        failed = Unavailable(
            "the inference process could not write this answer; its log says why",
            code="inference_failed",
        )
        yield _line(Failure.of(failed))


def _line(event: Text | End | Failure) -> str:
    return event.model_dump_json() + "\n"


async def _end_when_idle(engine: "Engine", seconds: float) -> None:
    while True:
        await asyncio.sleep(min(_LOOK_SECONDS, seconds))
        if await engine.end_idle(seconds):
            log.info("inference_idle", seconds=seconds)
