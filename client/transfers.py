"""Uploads and downloads as bars on standard error; on a terminal alone."""

import io
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from api_schemas.errors import InvalidInput
from client.downloads import DownloadProgress

OnBytes = Callable[[int, int], None]
"""Told how many bytes are done, of how many."""


class Transfers:
    """A bar for each file that `show` is told of, while it is entered."""

    def __init__(self, console: Console | None = None, visible: bool = True):
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not (visible and console.is_interactive),
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, progress: DownloadProgress) -> None:
        if progress.file not in self._bars:
            self._bars[progress.file] = self._progress.add_task(progress.file)
        self._progress.update(
            self._bars[progress.file],
            completed=progress.done_bytes,
            total=progress.total_bytes,
        )

    def opened(self, path: Path) -> "WatchedFile":
        """The file to upload, whose bar moves as it is read. Raises InvalidInput (`file`)."""
        return WatchedFile(
            path, lambda done, total: self.show(DownloadProgress(path.name, done, total))
        )


class WatchedFile(io.BufferedReader):
    """Tells how far it was read, and that it starts again when a retry does."""

    def __init__(self, path: Path, on_bytes: OnBytes):
        try:
            super().__init__(io.FileIO(path))
        except OSError as error:
            raise InvalidInput(f"{path} can't be read: {error.strerror}", param="file") from error
        self._on_bytes = on_bytes
        self._total = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._on_bytes(self.tell(), self._total)
        return data
