"""Lists of any length, fetched page by page as they are read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import BaseModel

from api_schemas.base import ListPage
from client.http import Connection

Item = TypeVar("Item", bound=BaseModel)

_PAGE = 100


@dataclass(frozen=True)
class Listing(Generic[Item]):
    """Iterate over it for all items, in the order of the route; each iteration asks anew."""

    connection: Connection
    path: str
    kind: type[ListPage[Item]]
    filters: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Item]:
        after: str | None = None
        while True:
            query: dict[str, str | int] = {**self.filters, "limit": _PAGE}
            if after is not None:
                query["after"] = after
            page = self.connection.get(self.kind, self.path, query)
            yield from page.data
            if not page.has_more or page.last_id is None:
                return
            after = page.last_id
