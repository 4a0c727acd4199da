"""The artifact store: immutable blobs named by their sha256, on a folder or any fsspec URL."""

import errno
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import rfc8785

from api_schemas.errors import NotFound, StorageFull
from workers.remote_stores import remote_filesystem

_CHUNK_BYTES = 1 << 20
_PARTIAL, _REMOVED = ".partial-", ".removed"
_FOLDERS = "[0-9a-f][0-9a-f]"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value: the one form that is hashed, stored and compared."""
    return rfc8785.dumps(value)


def is_full(error: BaseException) -> bool:
    """Whether a disk had no room, or its owner no more of it."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def raise_if_full(error: BaseException) -> None:
    """Raises StorageFull for a full disk: of a machine, and of nothing that was computed there."""
    if is_full(error):
        raise StorageFull("there is no room left on a disk") from error


@dataclass(frozen=True)
class Blob:
    """A stored blob; `modified` is when it was put last, by the store's clock."""

    digest: str
    modified: datetime
    bytes: int


class ArtifactStore:
    """`put` returns the digest; `get` gives back exactly those bytes or raises.

    A local blob is written to a temporary name, synced, renamed, and its folder synced, so that a
    digest that is visible always names whole bytes, also after a power cut.
    """

    def __init__(self, url: str):
        self.url = url
        self._remote: Any = None
        if "://" in url and not url.startswith("file://"):
            self._remote, self._root = remote_filesystem(url)
        else:
            self._root = os.path.abspath(url.removeprefix("file://"))

    def put(self, data: bytes) -> str:
        return self.put_stream([data])

    def put_json(self, value: Any) -> str:
        return self.put(canonical_json(value))

    def put_stream(self, chunks: Iterable[bytes]) -> str:
        """Store a stream without holding it in memory; an exception from it leaves nothing.

        What is stored already is stored anew, so that a collection of garbage finds it young.
        Raises StorageFull.
        """
        temporary_folder = self._root if self._remote is None else tempfile.gettempdir()
        os.makedirs(temporary_folder, exist_ok=True)
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=temporary_folder, prefix=_PARTIAL, delete=False) as f:
            try:
                for chunk in chunks:
                    digest.update(chunk)
                    f.write(chunk)
                f.flush()
                os.fsync(f.fileno())
                name = f"sha256:{digest.hexdigest()}"
                self._publish(f.name, name)
            except BaseException as error:
                Path(f.name).unlink(missing_ok=True)
                if is_full(error):
                    raise StorageFull(f"there is no room left in {self.url}") from error
                raise
        return name

    def get(self, digest: str) -> bytes:
        with self.open(digest) as blob:
            data = blob.read()
        if sha256_of(data) != digest:
            raise OSError(f"artifact {digest} is damaged: its bytes hash to {sha256_of(data)}")
        return data

    def get_json(self, digest: str) -> Any:
        import json

        return json.loads(self.get(digest))

    def open(self, digest: str) -> BinaryIO:
        try:
            if self._remote is not None:
                # Not every store's files know lines, or are fast for little pieces.
                return io.BufferedReader(self._remote.open(self._path(digest), "rb"), _CHUNK_BYTES)
            return open(self._path(digest), "rb")
        except FileNotFoundError:
            raise NotFound(f"artifact {digest} is not in the store") from None

    def exists(self, digest: str) -> bool:
        path = self._path(digest)
        return self._remote.exists(path) if self._remote is not None else os.path.exists(path)

    def blobs(self) -> Iterator[Blob]:
        """All that is stored, in no order."""
        if self._remote is not None:
            self._remote.invalidate_cache()
            for path, found in self._remote.find(self._root, detail=True).items():
                if digest := self._digest_at(path):
                    yield Blob(digest, _utc(self._remote.modified(path)), int(found["size"]))
            return
        for aside in Path(self._root).glob(f"{_FOLDERS}/*{_REMOVED}"):
            # Whoever was about to remove it was killed: it is looked at anew.
            with suppress(FileNotFoundError):
                os.rename(aside, str(aside).removesuffix(_REMOVED))
        for path in Path(self._root).glob(f"{_FOLDERS}/*"):
            if digest := self._digest_at(str(path)):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    yield Blob(digest, _moment(status.st_mtime), status.st_size)

    def remove(self, digest: str, before: datetime) -> bool:
        """Remove a blob unless it was put after `before`, even just now; False if it stays.

        On a local folder a put at the same time is seen, or comes after the removal and stores the
        blob anew. On a remote store a put in the instant between the look and the removal is lost.
        """
        path = self._path(digest)
        if self._remote is not None:
            if not self._remote.exists(path) or _utc(self._remote.modified(path)) >= before:
                return False
            self._remote.rm_file(path)
            return True
        aside = f"{path}{_REMOVED}"
        try:
            os.rename(path, aside)
            if _moment(os.stat(aside).st_mtime) >= before:
                os.rename(aside, path)
                return False
            os.unlink(aside)
        except FileNotFoundError:  # another collection was first
            return False
        return True

    def remove_partials(self, before: datetime, *, dry_run: bool = False) -> int:
        """What killed processes left half-written before then; gives how many files."""
        root = Path(self._root if self._remote is None else tempfile.gettempdir())
        old = [
            path
            for path in root.glob(f"{_PARTIAL}*")
            if path.is_file() and _moment(path.stat().st_mtime) < before
        ]
        for path in old if not dry_run else []:
            path.unlink(missing_ok=True)
        return len(old)

    def _digest_at(self, path: str) -> str | None:
        """None for what is no blob: the checkpoints of trainings lie there too."""
        digest = f"sha256:{os.path.basename(path)}"
        if not _DIGEST.fullmatch(digest) or not path.endswith(self._path(digest).lstrip("/")):
            return None
        return digest

    def _path(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"not a digest: {digest!r}")
        hexadecimal = digest.removeprefix("sha256:")
        return f"{self._root}/{hexadecimal[:2]}/{hexadecimal}"

    def _publish(self, temporary: str, digest: str) -> None:
        path = self._path(digest)
        if self._remote is not None:
            self._remote.makedirs(os.path.dirname(path), exist_ok=True)
            self._remote.put_file(temporary, path)
            os.unlink(temporary)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(temporary, path)
        for folder in (os.path.dirname(path), self._root):
            _sync_folder(folder)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


def _utc(moment: datetime) -> datetime:
    """Some stores tell UTC without saying so."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
