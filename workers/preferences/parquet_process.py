"""The program that decodes a Parquet file for `parquet.py`; it imports nothing of ours.

Standard input is the file. Arguments: the most rows, the most characters of a cell that matter, the
most of all cells, bytes of memory, seconds of computing. It writes the names of the columns, then a
line of JSON a row; what is wrong goes to standard error, with exit status 3.
"""

import json
import math
import resource
import sys
from pathlib import Path
from typing import Any, NoReturn

import pyarrow
import pyarrow.parquet

_ROWS_AT_ONCE = 256
_MAX_COLUMNS = 16
_MAX_FOOTER_BYTES = 16 * 2**20
_TAIL_BYTES = 8
_LIST_ITEMS = 3
"""One more than a valid list has, so that a longer one is still seen to be too long."""


def main(max_rows: int, max_text: int, max_characters: int) -> None:
    file = sys.stdin.buffer
    _check_footer(file)
    parquet = pyarrow.parquet.ParquetFile(file, pre_buffer=False)
    _check_metadata(parquet.metadata, max_rows)
    for field in parquet.schema_arrow:
        _check_type(field)
    print(json.dumps(parquet.schema_arrow.names))
    characters = 0
    row = 0
    for batch in parquet.iter_batches(_ROWS_AT_ONCE, use_threads=False):
        columns = [_cells(column, max_text, row) for column in batch.columns]
        for cells in zip(*columns, strict=True):
            row += 1
            characters += sum(map(_length, cells))
            if characters > max_characters:
                _end(f"its first {row} rows hold more than {max_characters} characters")
            print(json.dumps(cells))


def _check_footer(file: Any) -> None:
    """The footer's length stands before the last four bytes; reading it takes memory at once."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > size - _TAIL_BYTES:
        _end("it has no footer: is it whole?")
    if length > _MAX_FOOTER_BYTES:
        _end(f"its footer has {length} bytes, the limit is {_MAX_FOOTER_BYTES}")
    file.seek(0)


def _check_metadata(metadata: Any, max_rows: int) -> None:
    if metadata.num_rows > max_rows:
        _end(f"it has {metadata.num_rows} rows, the limit is {max_rows}")
    if metadata.num_columns > _MAX_COLUMNS:
        _end(f"it has {metadata.num_columns} columns")
    for group in range(metadata.num_row_groups):
        held = metadata.row_group(group).total_byte_size
        if held > _max_memory():
            _end(f"row group {group} decompresses to {held} bytes, the limit is {_max_memory()}")


def _check_type(field: Any) -> None:
    """Texts and numbers, and lists of them."""
    held, types = field.type, pyarrow.types
    if types.is_list(held) or types.is_large_list(held):
        held = held.value_type
    if types.is_dictionary(held):
        held = held.value_type
    text = types.is_string(held) or types.is_large_string(held) or types.is_null(held)
    if not (text or types.is_integer(held) or types.is_floating(held)):
        _end(
            f"the column {field.name[:40]!r} has the type {str(field.type)[:80]}; texts, numbers "
            "and lists of them are read"
        )


def _cells(column: Any, max_text: int, rows_before: int) -> list[Any]:
    try:
        return [_shortened(cell, max_text) for cell in column.to_pylist()]
    except UnicodeDecodeError:
        _end(f"row {rows_before + _first_undecodable(column)}: a text is not UTF-8")


def _first_undecodable(column: Any) -> int:
    """From 1."""
    for place in range(len(column)):
        try:
            column[place].as_py()
        except UnicodeDecodeError:
            return place + 1
    raise AssertionError("every cell can be decoded")


def _shortened(cell: Any, max_text: int) -> Any:
    """A text that is too long stays so by one character; NaN and infinities become words."""
    if isinstance(cell, str):
        return cell[: max_text + 1]
    if isinstance(cell, list):
        return [_shortened(item, max_text) for item in cell[:_LIST_ITEMS]]
    return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def _length(cell: Any) -> int:
    if isinstance(cell, list):
        return sum(map(_length, cell))
    return len(cell) if isinstance(cell, str) else 0


def _max_memory() -> int:
    return int(sys.argv[4])


def _limit_resources(seconds: int) -> None:
    """Memory beyond what is taken now; without /proc (macOS) only the file's own sizes bound it."""
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        taken = int(statistics.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + _max_memory(),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end(reason: str) -> NoReturn:
    sys.stdout.flush()
    print(reason, file=sys.stderr)
    sys.exit(3)


if __name__ == "__main__":
    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    _limit_resources(int(sys.argv[5]))
    try:
        main(*map(int, sys.argv[1:4]))
    except (MemoryError, pyarrow.ArrowMemoryError):
        _end(f"decoding it takes more than {_max_memory()} bytes of memory")
    except (pyarrow.ArrowException, OSError) as error:
        _end(f"it is damaged: {str(error)[:200]}")
