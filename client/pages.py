"""Lists of any length, fetched page by page as they are read."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Generic, TypeVar

from pydantic import BaseModel

from api_schemas.base import ListPage
from client.http import Connection
from client.modes import Async, Method, Mode, Resource, Stream, Sync, iterated

Item = TypeVar("Item", bound=BaseModel)

_PAGE = 100


class Listing(Resource[Mode], Generic[Mode, Item]):
    """Iterate over it for all items, in the order of the route; each iteration asks anew.

    A page is fetched when the one before has been read to its end, so that whoever stops early
    asks for no more.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        kind: type[ListPage[Item]],
        filters: Mapping[str, str] | None = None,
    ):
        super().__init__(connection)
        self._path = path
        self._kind = kind
        self._filters = filters or {}

    def __iter__(self: "Listing[Sync, Item]") -> Iterator[Item]:
        return iterated(self._items())

    def __aiter__(self: "Listing[Async, Item]") -> AsyncIterator[Item]:
        return self._items()

    @Method
    async def page(self, after: str | None = None, limit: int = _PAGE) -> ListPage[Item]:
        """At most `limit` items, 100 at the most, behind the item whose id is `after`; by default
        the first ones. The next page begins behind this one's `last_id`, if it `has_more`."""
        return await self._page(after, limit)

    @Stream
    async def pages(self) -> AsyncGenerator[ListPage[Item], None]:
        """Page by page, as they are read."""
        async for page in self._pages():
            yield page

    async def _items(self) -> AsyncGenerator[Item, None]:
        async for page in self._pages():
            for item in page.data:
                yield item

    async def _pages(self) -> AsyncGenerator[ListPage[Item], None]:
        page = await self._page(None, _PAGE)
        yield page
        while page.has_more and page.last_id is not None:
            page = await self._page(page.last_id, _PAGE)
            yield page

    async def _page(self, after: str | None, limit: int) -> ListPage[Item]:
        query: dict[str, str | int] = {**self._filters, "limit": limit}
        if after is not None:
            query["after"] = after
        return await self._connection.get(self._kind, self._path, query)
