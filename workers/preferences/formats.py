"""Preference files: JSON lines, CSV or Parquet, of pairs, votes or dialogues."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import compress
from typing import Any, BinaryIO

from api_schemas.datasets import (
    BadLineError,
    DataValidation,
    LineFaults,
    bounded_lines,
    json_objects,
)
from api_schemas.errors import InvalidInput
from workers.preferences.columns import table_record
from workers.preferences.comparison import Comparison, Preferences
from workers.preferences.csv_rows import csv_rows
from workers.preferences.lines import OneShape, PreferenceRecord, preference_record, to_comparison
from workers.preferences.parquet import parquet_rows
from workers.preferences.tally import Tally

_PARQUET_MAGIC = b"PAR1"
_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_preferences(file: BinaryIO) -> Preferences:
    """Every usable comparison of the file, once.

    The format is found by the content: `PAR1` begins Parquet, `{` JSON lines, all else is CSV.
    Lines that can be read but not used are left out and counted. Raises InvalidInput (`file`) that
    names the first bad lines (five at most) of a file that can't be read, or says that a file holds
    no usable comparison.
    """
    tally = Tally()
    read = list(_tallied(file, tally))
    usable = compress(read, tally.usable())
    return Preferences(sorted(usable, key=_order), tally.validation())


def validate_preferences(file: BinaryIO) -> DataValidation:
    """What `read_preferences` says of the file; holds some digests a line instead of the texts."""
    tally = Tally()
    for _ in _tallied(file, tally):
        pass
    return tally.validation()


def _order(each: Comparison) -> tuple[Any, ...]:
    """Of all that a comparison says, so that the order of lines can't matter."""
    said = (each.prompt, each.chosen, each.rejected)
    return (*said, each.share, each.votes, each.margin, each.split or "")


def _tallied(file: BinaryIO, tally: Tally) -> Iterator[Comparison]:
    """Every line's comparison, in the file's order, once the tally has seen it."""
    for number, record in _records(file):
        result = to_comparison(record)
        tally.add(number, result)
        if isinstance(result, Comparison):
            yield result


@dataclass(frozen=True)
class _Source:
    """A file's rows with their numbers, what a row is as a line, and where bad ones are noted."""

    rows: Iterator[tuple[int, dict[str, Any]]]
    record_of: Callable[[dict[str, Any]], PreferenceRecord]
    faults: LineFaults


def _records(file: BinaryIO) -> Iterator[tuple[int, PreferenceRecord]]:
    source = _source(file)
    faults = source.faults
    shape = OneShape(faults.unit)
    for number, fields in source.rows:
        try:
            record = source.record_of(fields)
            shape.check(number, record)
        except BadLineError as fault:
            faults.add(number, fault)
            continue
        yield number, record
    faults.refuse_if_any()
    if shape.first_number is None:
        raise InvalidInput(f"the file holds no {faults.unit}", param="file")


def _source(file: BinaryIO) -> _Source:
    file.seek(0)
    head = file.read(len(_PARQUET_MAGIC))
    file.seek(0)
    if head == _PARQUET_MAGIC:
        faults = LineFaults("row")
        return _Source(parquet_rows(file, faults), table_record, faults)
    if head.startswith(_GZIP_MAGIC):
        raise InvalidInput("the file is compressed with gzip: upload it unpacked", param="file")
    faults = LineFaults()
    if _first_text(file).startswith(b"{"):
        rows = json_objects(bounded_lines(file), faults)
        return _Source(rows, preference_record, faults)
    return _Source(csv_rows(bounded_lines(file), faults), table_record, faults)


def _first_text(file: BinaryIO) -> bytes:
    """The first line that is not blank, without the white space before it; reads from the start."""
    faults = LineFaults()
    found = b""
    for number, line in enumerate(bounded_lines(file), start=1):
        faults.enter(number)
        if found := line.removeprefix(_BYTE_ORDER_MARK).strip():
            break
    file.seek(0)
    return found
