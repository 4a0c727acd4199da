"""Cursor pagination: `after` names the last item seen, `limit` how many follow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput


@dataclass(frozen=True)
class PageQuery:
    after: str | None = None
    limit: int = 20


async def _page_query(
    after: Annotated[
        str | None,
        Query(
            pattern=r"^[a-z]+_[0-9a-z]{26}$",
            description="`last_id` of the page before; without it the list starts anew.",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Items on the page at most.")] = 20,
) -> PageQuery:
    return PageQuery(after, limit)


Page = Annotated[PageQuery, Depends(_page_query)]

Row = TypeVar("Row")
Item = TypeVar("Item", bound=BaseModel)


def fetch_page(
    session: Session,
    statement: Select[Row],
    page: PageQuery,
    to_item: Callable[[Row], Item],
    *,
    id_column: InstrumentedAttribute[str],
    order_by: InstrumentedAttribute[Any] | None = None,
    oldest_first: bool = False,
) -> ListPage[Item]:
    """One page of `statement`, which is already scoped to the principal; newest first by id.

    `to_item` makes the schema of a row; items need an `id`. `order_by` is unique among the rows,
    the id by default. Raises InvalidInput (`after`) for a cursor that is not in the list.
    """
    rows, has_more = fetch_rows(
        session,
        statement,
        page,
        id_column=id_column,
        order_by=order_by,
        oldest_first=oldest_first,
    )
    return to_page([to_item(row) for row in rows], has_more)


def fetch_rows(
    session: Session,
    statement: Select[Row],
    page: PageQuery,
    *,
    id_column: InstrumentedAttribute[str],
    order_by: InstrumentedAttribute[Any] | None = None,
    oldest_first: bool = False,
) -> tuple[list[Row], bool]:
    """The rows of `fetch_page` and whether more follow, to be made into items all at once."""
    order = id_column if order_by is None else order_by
    paged = statement.order_by(order.asc() if oldest_first else order.desc())
    if page.after is not None:
        cursor = session.scalar(
            statement.with_only_columns(order).where(id_column == page.after).limit(1)
        )
        if cursor is None:
            raise InvalidInput(
                f"after {page.after!r} is not in this list; give the last_id of a page of it",
                param="after",
            )
        paged = paged.where(order > cursor if oldest_first else order < cursor)
    rows = session.scalars(paged.limit(page.limit + 1)).all()
    return list(rows[: page.limit]), len(rows) > page.limit


def to_page(items: list[Item], has_more: bool) -> ListPage[Item]:
    ids: list[str] = [getattr(item, "id") for item in items]  # noqa: B009 (Item has no static id)
    return ListPage(
        data=items,
        has_more=has_more,
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
    )
