"""The columns that a table of preferences may have, and the line that a row's cells hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api_schemas.datasets import BadLineError
from api_schemas.errors import InvalidInput
from workers.preferences.lines import PreferenceRecord, preference_record

_NAMES_SHOWN = 10
_CHARACTERS_SHOWN = 40
_NUMBERED = {"responses": ("response_1", "response_2"), "votes": ("votes_1", "votes_2")}


@dataclass(frozen=True)
class _Layout:
    required: tuple[str, ...]
    optional: tuple[str, ...]

    def fits(self, names: Sequence[str]) -> bool:
        return set(self.required) <= set(names) <= {*self.required, *self.optional}

    def __str__(self) -> str:
        return f"{', '.join(self.required)} (optional: {', '.join(self.optional)})"


FLAT = (
    _Layout(("prompt", "chosen", "rejected"), ("margin", "split")),
    _Layout(("chosen", "rejected"), ("margin", "split")),
    _Layout(("prompt", "response_1", "response_2", "votes_1", "votes_2"), ("tied_votes", "split")),
)
"""Of pairs, dialogues and votes, where a cell holds one value."""

WITH_LISTS = (*FLAT, _Layout(("prompt", "responses", "votes"), ("tied_votes", "split")))

NUMBERS = frozenset({"margin", "votes_1", "votes_2", "tied_votes"})
OPTIONAL = frozenset({"margin", "split", "tied_votes"})


def check_columns(names: Sequence[str], layouts: Sequence[_Layout], where: str) -> None:
    """Raises InvalidInput (`file`) with what was expected, unless the names are one layout's."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not repeated and any(layout.fits(names) for layout in layouts):
        return
    shown = ", ".join(repr(name[:_CHARACTERS_SHOWN]) for name in names[:_NAMES_SHOWN])
    more = ", …" if len(names) > _NAMES_SHOWN else ""
    twice = f"; {repeated[0][:_CHARACTERS_SHOWN]!r} occurs twice" if repeated else ""
    expected = "; or ".join(str(layout) for layout in layouts)
    raise InvalidInput(
        f"{where} the columns {shown}{more}{twice}; expected are {expected}", param="file"
    )


def table_record(cells: Mapping[str, Any]) -> PreferenceRecord:
    """The line that a row's cells hold. Raises BadLineError naming a column."""
    try:
        return preference_record(_fields(cells))
    except BadLineError as fault:
        raise BadLineError(_by_column(str(fault), cells)) from None


def _fields(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Numbered columns become lists, and columns that may be left out vanish without a value."""
    fields = {
        name: value for name, value in cells.items() if value is not None or name not in OPTIONAL
    }
    for name, numbered in _NUMBERED.items():
        if numbered[0] in fields:
            fields[name] = [fields.pop(column) for column in numbered]
    return fields


def _by_column(fault: str, cells: Mapping[str, Any]) -> str:
    """`votes.0` is the column votes_1, unless votes are a column of lists."""
    for name, numbered in _NUMBERED.items():
        for place, column in enumerate(numbered):
            if column in cells:
                fault = fault.replace(f"{name}.{place}: ", f"{column}: ")
    return fault
