"""The artifact store: immutable blobs named by their sha256, on a folder or any fsspec URL."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import rfc8785

from api_schemas.errors import NotFound

_CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value: the one form that is hashed, stored and compared."""
    return rfc8785.dumps(value)


class ArtifactStore:
    """`put` returns the digest; `get` gives back exactly those bytes or raises.

    A local blob is written to a temporary name, synced, renamed, and its folder synced, so that a
    digest that is visible always names whole bytes, also after a power cut.
    """

    def __init__(self, url: str):
        self.url = url
        self._remote = None
        if "://" in url and not url.startswith("file://"):
            import fsspec  # type: ignore[import-untyped]  # only for remote stores

            self._remote, self._root = fsspec.core.url_to_fs(url)
        else:
            self._root = os.path.abspath(url.removeprefix("file://"))

    def put(self, data: bytes) -> str:
        return self.put_stream([data])

    def put_json(self, value: Any) -> str:
        return self.put(canonical_json(value))

    def put_stream(self, chunks: Iterable[bytes]) -> str:
        """Store a stream without holding it in memory; an exception from it leaves nothing."""
        temporary_folder = self._root if self._remote is None else tempfile.gettempdir()
        os.makedirs(temporary_folder, exist_ok=True)
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(
            dir=temporary_folder, prefix=".partial-", delete=False
        ) as f:
            try:
                for chunk in chunks:
                    digest.update(chunk)
                    f.write(chunk)
                f.flush()
                os.fsync(f.fileno())
                name = f"sha256:{digest.hexdigest()}"
                self._publish(f.name, name)
            except BaseException:
                Path(f.name).unlink(missing_ok=True)
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
                return self._remote.open(self._path(digest), "rb")  # type: ignore[no-any-return]
            return open(self._path(digest), "rb")
        except FileNotFoundError:
            raise NotFound(f"artifact {digest} is not in the store") from None

    def exists(self, digest: str) -> bool:
        path = self._path(digest)
        return self._remote.exists(path) if self._remote is not None else os.path.exists(path)

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
