"""Two clients from one body: its methods are coroutines, which the synchronous client runs.

A coroutine suspends only where something that it awaits does. What a resource awaits comes down to
its connection's transport, and `BlockingTransport` never suspends: so there a coroutine that is
begun runs to its end at once, without any event loop.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from functools import wraps
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from client.http import Connection

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Mode = TypeVar("Mode")
"""`Sync` or `Async`."""


class Sync:
    """Marks the types of `Truthtune`: its methods give results, its lists are iterated by `for`."""


class Async:
    """Marks those of `AsyncTruthtune`: `await` its methods, iterate by `async for`."""


class Resource(Generic[Mode]):
    """What asks the service: a namespace of the client, or a list."""

    def __init__(self, connection: Connection):
        self._connection = connection


class Method(Generic[Arguments, Result]):
    """Decorates a resource's coroutine: awaited in `AsyncTruthtune`, a plain call in `Truthtune`.

    Within a resource the mode is unknown: call functions on the connection there, not methods.
    """

    def __init__(
        self, function: Callable[Concatenate[Any, Arguments], Coroutine[Any, Any, Result]]
    ):
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...
    @overload
    def __get__(self, resource: Resource[Sync], owner: type) -> Callable[Arguments, Result]: ...
    @overload
    def __get__(
        self, resource: Resource[Async], owner: type
    ) -> Callable[Arguments, Coroutine[Any, Any, Result]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        return self if resource is None else _bound(self._function, resource, finish)


class Stream(Generic[Arguments, Result]):
    """The same of an async generator, which is a plain iterator in `Truthtune`."""

    def __init__(
        self, function: Callable[Concatenate[Any, Arguments], AsyncGenerator[Result, None]]
    ):
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self, resource: Resource[Sync], owner: type
    ) -> Callable[Arguments, Iterator[Result]]: ...
    @overload
    def __get__(
        self, resource: Resource[Async], owner: type
    ) -> Callable[Arguments, AsyncGenerator[Result, None]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        return self if resource is None else _bound(self._function, resource, iterated)


def finish(awaitable: Awaitable[Result]) -> Result:
    """The result of what awaits nothing but a blocking transport."""
    try:
        next(awaitable.__await__())
    except StopIteration as end:
        result: Result = end.value
        return result
    raise AssertionError("a blocking transport never suspends")


def iterated(items: AsyncGenerator[Result, None]) -> Iterator[Result]:
    """The items one by one. Whoever stops early closes the connection that they came over."""
    try:
        while True:
            try:
                item = finish(anext(items))
            except StopAsyncIteration:
                return
            yield item
    finally:
        finish(items.aclose())


def _bound(
    function: Callable[..., Any], resource: Resource[Any], run: Callable[[Any], Any]
) -> Callable[..., Any]:
    bound = MethodType(function, resource)
    if not resource._connection.blocking:
        return bound

    @wraps(bound)
    def called(*arguments: Any, **named: Any) -> Any:
        return run(bound(*arguments, **named))

    return called
