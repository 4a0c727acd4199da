"""How a request finds its route and runs: by the path's noun, and in one thread."""

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import Match
from starlette.types import Scope


@dataclass(frozen=True)
class Around:
    """What an endpoint runs within, in its thread, which it gets once `turns` lets it in."""

    context: AbstractContextManager[None]
    turns: CapacityLimiter


_around: ContextVar[Around | None] = ContextVar("_around", default=None)


def run_endpoint_within(context: AbstractContextManager[None], turns: CapacityLimiter) -> None:
    """To be called by a dependency that is `async`: for the endpoint of this request's `Route`."""
    _around.set(Around(context, turns))


class Route(APIRoute):
    """A route whose endpoint runs in a thread, once: FastAPI would take another one to see that
    what it returned is of its response model, which takes less than the way there and back."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any):
        super().__init__(path, _in_thread(endpoint), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_by_itself(request: Request) -> Response:
            # One task may ask several times: a page of the dashboard asks the API.
            before = _around.set(None)
            try:
                return await handle(request)
            finally:
                _around.reset(before)

        return handle_by_itself


class Router(APIRouter):
    """The routes of some nouns under `/v1`. Of a path with another noun it says at once that it has
    none: FastAPI would try each of its routes, and does so twice a request."""

    def __init__(self, *, route_class: type[APIRoute] = Route, **options: Any):
        super().__init__(route_class=route_class, **options)

    @cached_property
    def _nouns(self) -> frozenset[str]:
        """Read at the first request, when all routes are there."""
        return frozenset(route.path.split("/")[1] for route in self.routes)  # type: ignore[attr-defined]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        parts = scope["path"].split("/", 3)  # "", "v1", the noun
        if len(parts) < 3 or parts[2] not in self._nouns:
            return Match.NONE, {}
        return super().matches(scope)


def _in_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    if iscoroutinefunction(endpoint) or isasyncgenfunction(endpoint):
        return endpoint

    @wraps(endpoint)
    async def run(**arguments: Any) -> Any:
        around = _around.get()
        if around is None:
            return await run_in_threadpool(endpoint, **arguments)
        within = partial(_within, around.context, endpoint, arguments)
        return await to_thread.run_sync(within, limiter=around.turns)

    return run


def _within(
    context: AbstractContextManager[None], endpoint: Callable[..., Any], arguments: dict[str, Any]
) -> Any:
    with context:
        return endpoint(**arguments)
