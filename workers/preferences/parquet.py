"""Rows of a Parquet file, decoded by a process of its own that may use only so much memory.

What a file says of its sizes need not be true, and a page of a few bytes can decode to gigabytes;
so the sizes are looked at first, and what then still grows too large ends that process alone.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from api_schemas.datasets import MAX_LINES, MAX_TEXT, LineFaults
from api_schemas.errors import InvalidInput
from workers.preferences.columns import WITH_LISTS, check_columns

_PROGRAM = Path(__file__).with_name("parquet_process.py")
_MAX_MEMORY = 2**30
"""What decoding may take beside the file: row groups are decoded page by page."""

_MAX_CHARACTERS = 2**29
"""Of all cells together, twice the largest upload: a repeated text takes no room in Parquet."""

_MAX_CPU_SECONDS = 300
_SAID_WHY = 3


def parquet_rows(file: BinaryIO, faults: LineFaults) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each row, from 1, and its cells by column.

    Raises InvalidInput (`file`) for columns of unknown names or types, and for a file that is
    damaged or holds too much.
    """
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        process = _start(copy)
        try:
            yield from _rows(process, faults)
        finally:
            process.kill()
            process.communicate()


def _start(file: BinaryIO) -> "subprocess.Popen[bytes]":
    limits = [MAX_LINES, MAX_TEXT, _MAX_CHARACTERS, _MAX_MEMORY, _MAX_CPU_SECONDS]
    return subprocess.Popen(
        [sys.executable, "-P", str(_PROGRAM), *map(str, limits)],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Nothing of the service's own, where its secrets are: a decoder that a file deceives finds
        # none. Arrow's other allocators reserve memory ahead, which the limit would count.
        env={"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"},
    )


def _rows(
    process: "subprocess.Popen[bytes]", faults: LineFaults
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The process writes the names of the columns, then a line of JSON a row."""
    assert process.stdout is not None
    lines = iter(process.stdout)
    names = json.loads(next(lines, b"[]"))
    if names:
        check_columns(names, WITH_LISTS, "the Parquet file has")
    for number, line in enumerate(lines, start=1):
        faults.enter(number)
        yield number, dict(zip(names, json.loads(line), strict=True))
    _refuse_unless_done(process)


def _refuse_unless_done(process: "subprocess.Popen[bytes]") -> None:
    _, said = process.communicate()
    if process.returncode == _SAID_WHY:
        reason = said.decode(errors="replace").strip()
    elif process.returncode:
        reason = (
            f"decoding it takes more than {_MAX_MEMORY} bytes of memory or {_MAX_CPU_SECONDS} s, "
            f"or it is damaged (the decoder ended with {process.returncode})"
        )
    else:
        return
    raise InvalidInput(f"the Parquet file can't be read: {reason}", param="file")
