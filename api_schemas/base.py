"""The base of all schemas, and the list page every list route returns."""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Discriminator,
    PlainSerializer,
)


class Schema(BaseModel):
    """Strict base: unknown fields are refused, floats must be finite, values don't change after."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the years 1 to 9999 in UTC") from None


Timestamp = Annotated[
    AwareDatetime,
    AfterValidator(_in_utc),
    PlainSerializer(_rfc3339, return_type=str),
]
"""An instant; RFC 3339 in UTC on the wire. A time without an offset is refused."""

Item = TypeVar("Item", bound=BaseModel)


def _show_a_page(schema: dict[str, Any], page: type[BaseModel]) -> None:
    """The example of a page holds that of its items' schema."""
    (item,) = get_args(page.model_fields["data"].annotation)
    shown = item.model_config["json_schema_extra"]["examples"][0]
    ids = {"first_id": shown["id"], "last_id": shown["id"]}
    schema["examples"] = [{"object": "list", "data": [shown], "has_more": False} | ids]


class ListPage(Schema, Generic[Item]):
    """One page, newest first unless the route says otherwise; next page: `after=last_id`."""

    model_config = ConfigDict(json_schema_extra=_show_a_page)

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None


def tag_of(name: str, default: str) -> Discriminator:
    """Tells the members of a union apart by their field `name`, which may be left out."""

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get(name, default)
        return getattr(value, name, None)

    return Discriminator(read)
