"""How a request finds its route and runs: by the path's noun, and in one thread."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cached_property, wraps
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import Match
from starlette.types import Scope

_around: ContextVar[AbstractContextManager[None] | None] = ContextVar("_around", default=None)


@contextmanager
def around_endpoint(around: AbstractContextManager[None]) -> Iterator[None]:
    """Within this block, in a dependency, the endpoint of a `Route` runs within `around`."""
    before = _around.set(around)
    try:
        yield
    finally:
        _around.reset(before)


class Route(APIRoute):
    """A route whose endpoint runs in a thread, once: FastAPI would take another one to see that
    what it returned is of its response model, which takes less than the way there and back."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any):
        super().__init__(path, _in_thread(endpoint), **options)


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
        return await run_in_threadpool(_within, _around.get(), endpoint, arguments)

    return run


def _within(
    around: AbstractContextManager[None] | None,
    endpoint: Callable[..., Any],
    arguments: dict[str, Any],
) -> Any:
    with around or nullcontext():
        return endpoint(**arguments)
