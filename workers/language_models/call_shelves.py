"""Where the files of a book of calls are: a folder of this machine, or one in a remote store."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Protocol

from api_schemas.errors import StorageFull
from workers.artifacts import is_full
from workers.remote_stores import remote_filesystem

LOST = "lost"
"""What the names of calls begin with that are out, or were lost."""
_SUFFIX = ".json"


class Shelf(Protocol):
    """Where a book's files are."""

    def name_of(self, key: str) -> str: ...

    def names(self) -> Iterator[str]: ...

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, line: bytes, replaces: bool = False) -> bool:
        """False if the name was taken, and stays as it was."""

    def mark(self, name: str) -> None:
        """Leave an empty file of this name, which is no call's."""

    def unmark(self, name: str) -> None: ...

    def marks(self) -> list[str]: ...

    def remove(self) -> None: ...


def shelf_of(artifacts_url: str, book_id: str) -> Shelf:
    url = f"{artifacts_url.rstrip('/')}/calls/{book_id}"
    if "://" in url and not url.startswith("file://"):
        return _RemoteShelf(url)
    return _LocalShelf(Path(url.removeprefix("file://")).absolute())


class _LocalShelf:
    def __init__(self, folder: Path):
        self._folder, self._is_durable = folder, False

    def name_of(self, key: str) -> str:
        return str(self._folder / f"{key}{_SUFFIX}")

    def names(self) -> Iterator[str]:
        for name in self._listed():
            if name.endswith(_SUFFIX):
                yield name.removesuffix(_SUFFIX)

    def get(self, key: str) -> bytes | None:
        try:
            return Path(self.name_of(key)).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, key: str, line: bytes, replaces: bool = False) -> bool:
        with self._room():
            return self._put(key, line, replaces)

    def mark(self, name: str) -> None:
        with self._room():
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / name).touch()
            self._sync()

    def unmark(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def marks(self) -> list[str]:
        return [name for name in self._listed() if name.startswith(f"{LOST}-")]

    def _listed(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return []

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if is_full(error):
                raise StorageFull(f"there is no room left in {self._folder}") from error
            raise

    def _put(self, key: str, line: bytes, replaces: bool) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=".partial-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            if replaces:
                os.replace(temporary, self.name_of(key))
            else:
                os.link(temporary, self.name_of(key))  # unlike a rename it replaces nothing
        except FileExistsError:
            return False
        finally:
            Path(temporary).unlink(missing_ok=True)
        self._sync()
        return True

    def _sync(self) -> None:
        """The folder; the first time those above it too, which may be as new."""
        above = [] if self._is_durable else [self._folder.parent, self._folder.parent.parent]
        for folder in (self._folder, *above):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._is_durable = True

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._is_durable = False


class _RemoteShelf:
    """Names are listed once: a look at each would be a request over the network for every miss.

    Before a call is written its name is looked for: what another process bought stays. Between the
    look and the write there is time for a third; then the last one's reply stays, while the others
    go on with their own.
    """

    def __init__(self, url: str):
        self._files, self._folder = remote_filesystem(url)

    def name_of(self, key: str) -> str:
        return f"{self._folder}/{key}{_SUFFIX}"

    def names(self) -> Iterator[str]:
        yield from list(self._names)

    def get(self, key: str) -> bytes | None:
        if key not in self._names:
            return None
        with self._files.open(self.name_of(key), "rb") as file:
            data: bytes = file.read()
        return data

    def put(self, key: str, line: bytes, replaces: bool = False) -> bool:
        self._names.add(key)
        self._files.invalidate_cache()
        if not replaces and self._files.exists(self.name_of(key)):
            return False
        self._write(self.name_of(key), line)
        return True

    def mark(self, name: str) -> None:
        self._write(f"{self._folder}/{name}", b"")

    def unmark(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm_file(f"{self._folder}/{name}")

    def marks(self) -> list[str]:
        return [name for name in self._listed() if name.startswith(f"{LOST}-")]

    def _write(self, path: str, data: bytes) -> None:
        self._files.makedirs(self._folder, exist_ok=True)
        with self._files.open(path, "wb") as file:
            file.write(data)

    def remove(self) -> None:
        if self._files.exists(self._folder):
            self._files.rm(self._folder, recursive=True)
        self._names.clear()

    @cached_property
    def _names(self) -> set[str]:
        names = self._listed()
        return {name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)}

    def _listed(self) -> list[str]:
        self._files.invalidate_cache()
        try:
            found = self._files.ls(self._folder, detail=False)
        except FileNotFoundError:
            return []
        return [os.path.basename(path.rstrip("/")) for path in found]
