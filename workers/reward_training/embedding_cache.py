"""Embeddings on disk, each under the digest of what it was computed from: none is computed twice.

A file is the sha256 of a vector's bytes and the bytes, little-endian float32, named by its key. It
is written under a temporary name and renamed, so that processes may share the folder; a file that
isn't whole is no entry. Keys are spread evenly over 256 folders, each with a 256th of the room:
when one has no more, its oldest files go.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.base_models import cache_folder

Vectors = NDArray[np.float32]

ROOM_BYTES = 2 << 30
"""About a million vectors of MiniLM; files below 4 KiB count as 4 KiB, which they take on disk."""

_FOLDERS = 256
_DIGEST_BYTES = 32
_BLOCK_BYTES = 4096
_KEPT_SHARE = 0.9  # removing more than needed makes looking for the oldest rare

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddingCache:
    """Vectors by key, a sha256 in hexadecimal."""

    folder: Path
    room_bytes: int = ROOM_BYTES

    @classmethod
    def default(cls) -> "EmbeddingCache":
        """The one that all processes with the same model cache share."""
        return cls(cache_folder() / "embeddings")

    def get(self, keys: Sequence[str]) -> dict[str, Vectors]:
        """The vectors that are there, float32; absent and damaged ones are left out."""
        found = {}
        for key in dict.fromkeys(keys):
            vector = _read(self._path(key))
            if vector is not None:
                found[key] = vector
        return found

    def put(self, vectors: Mapping[str, Vectors]) -> None:
        """Keep the vectors. A disk that is full or read-only costs time later, and nothing else."""
        try:
            for key, vector in vectors.items():
                _write(self._path(key), np.ascontiguousarray(vector, dtype="<f4").tobytes())
            for folder in {self._path(key).parent for key in vectors}:
                self._make_room(folder)
        except OSError as error:
            _log.warning("embeddings are not kept in %s: %s", self.folder, error)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _make_room(self, folder: Path) -> None:
        names = os.listdir(folder)
        room = self.room_bytes // _FOLDERS
        if len(names) * _BLOCK_BYTES <= room // 4:  # vectors of up to 16 KiB surely fit
            return
        files = [file for name in names if (file := _stat(folder / name))]
        total = sum(size for _, size, _ in files)
        if total <= room:
            return
        for _, size, path in sorted(files):
            path.unlink(missing_ok=True)
            total -= size
            if total <= room * _KEPT_SHARE:
                return


def _stat(path: Path) -> tuple[int, int, Path] | None:
    """When it was written, the bytes on disk, the path; None if another process removed it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, max(found.st_size, _BLOCK_BYTES), path


def _read(path: Path) -> Vectors | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, vector = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if not vector or hashlib.sha256(vector).digest() != digest:
        return None
    return np.frombuffer(vector, dtype="<f4")


def _write(path: Path, vector: bytes) -> None:
    """No fsync: after a power cut a file may be damaged, which its digest shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".partial-", delete=False) as file:
        try:
            file.write(hashlib.sha256(vector).digest() + vector)
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
