"""Rows of a CSV file: a header with the columns' names, commas between cells, quotes round them."""

import csv
import re
from collections.abc import Iterator
from typing import Any

from api_schemas.datasets import MAX_LINE_BYTES, BadLineError, LineFaults, decoded
from api_schemas.errors import InvalidInput
from workers.preferences.columns import FLAT, NUMBERS, OPTIONAL, check_columns

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def csv_rows(lines: Iterator[bytes], faults: LineFaults) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of the line where each row begins, and its cells by column.

    A row whose cells don't fit the header or hold no number where there must be one is a fault.
    Raises InvalidInput (`file`) for a header that is not known, for text that is not UTF-8, and for
    broken quotes: behind these nobody can tell where rows begin.
    """
    source = _Lines(lines, faults)
    reader = csv.reader(source, strict=True)
    header: list[str] | None = None
    while (cells := _next_row(reader, source)) is not None:
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [name.strip() for name in cells]
            check_columns(header, FLAT, "not JSON lines, and as CSV the header has")
            continue
        try:
            yield source.first, _values(header, cells)
        except BadLineError as fault:
            faults.add(source.first, fault)


class _Lines:
    """Lines as text, counted, so that no row is longer than a line may be.

    The reader joins the lines of a quoted cell until the quote ends. Its own limit of a cell's
    length belongs to the whole process, where others may change it.
    """

    def __init__(self, lines: Iterator[bytes], faults: LineFaults) -> None:
        self.first = 1
        self._lines = lines
        self._faults = faults
        self._number = 0
        self._held = 0

    def begin_row(self) -> None:
        self.first, self._held = self._number + 1, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = next(self._lines)
        self._number += 1
        self._faults.enter(self._number)
        self._held += len(raw)
        if self._held > MAX_LINE_BYTES:
            raise BadLineError(f"a quoted cell does not end within {MAX_LINE_BYTES} bytes")
        try:
            return decoded(raw, self._number)
        except BadLineError as fault:
            place = f"line {self._number}: " if self._number > self.first else ""
            raise BadLineError(f"{place}{fault}") from None


def _next_row(reader: Iterator[list[str]], source: _Lines) -> list[str] | None:
    source.begin_row()
    try:
        return next(reader, None)
    except (csv.Error, BadLineError) as error:
        raise InvalidInput(
            f"line {source.first}: not CSV (does every quote end?): {error}", param="file"
        ) from None


def _values(header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise BadLineError(f"{len(cells)} cells, but the header has {len(header)}")
    return {name: _value(name, cell) for name, cell in zip(header, cells, strict=True)}


def _value(name: str, cell: str) -> str | float | None:
    """An empty cell is no value where one may be left out, else an empty text."""
    if name in OPTIONAL and not cell.strip():
        return None
    if name not in NUMBERS:
        return cell
    if not _NUMBER.fullmatch(cell.strip()):
        raise BadLineError(f"{name}: {cell[:40]!r} is not a number")
    return float(cell)
