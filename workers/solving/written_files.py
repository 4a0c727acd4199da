"""Results that appear under their name whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from workers.mechanism.arrays import Floats
from workers.solving.fields import refuse


@contextmanager
def published(path: Path, option: str) -> Iterator[BinaryIO]:
    """A new file, given its name when the block ends; a block that fails leaves nothing behind.

    Raises InvalidInput naming the option if the path can't be written.
    """
    if path.exists() and not path.is_file():
        refuse(option, f"{path} is not a regular file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = temporary.open("xb")
    except (OSError, ValueError) as error:
        refuse(option, f"{path} can't be written: {getattr(error, 'strerror', None) or error}")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class RowsFile:
    """A .npy file of float64, shape (rows, columns), written row by row."""

    def __init__(self, file: BinaryIO, rows: int, columns: int) -> None:
        self._file, self._columns = file, columns
        header = {"descr": "<f8", "fortran_order": False, "shape": (rows, columns)}
        np.lib.format.write_array_header_1_0(file, header)

    def append(self, row: Floats) -> None:
        self._file.write(row.astype("<f8").tobytes())
