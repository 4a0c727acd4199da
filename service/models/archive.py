"""`adapter.zip`: a model's files in one blob, the same bytes whenever it is made from the same."""

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO

from api_schemas.models import ModelFile
from workers.artifacts import ArtifactStore

ARCHIVE_NAME = "adapter.zip"
_CHUNK_BYTES = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
_REGULAR_FILE = 0o100644 << 16
_UNIX = 3


def build_archive(artifacts: ArtifactStore, files: Sequence[ModelFile]) -> ModelFile:
    """Zip the files, by name, and store the zip as an artifact.

    Weights don't compress, so they are stored as they are. Raises OSError for a damaged blob.
    """
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for entry in sorted(files, key=lambda entry: entry.name):
                _add(archive, entry, artifacts)
        size = file.tell()
        file.seek(0)
        digest = artifacts.put_stream(_chunks(file))
    return ModelFile(name=ARCHIVE_NAME, bytes=size, sha256=digest)


def _add(archive: zipfile.ZipFile, entry: ModelFile, artifacts: ArtifactStore) -> None:
    info = zipfile.ZipInfo(entry.name, _EPOCH)
    info.create_system = _UNIX  # else the platform would show in the bytes
    info.external_attr = _REGULAR_FILE
    info.file_size = entry.bytes
    digest = hashlib.sha256()
    with artifacts.open(entry.sha256) as blob, archive.open(info, "w") as target:
        for chunk in _chunks(blob):
            digest.update(chunk)
            target.write(chunk)
    if f"sha256:{digest.hexdigest()}" != entry.sha256:
        raise OSError(f"artifact {entry.sha256} of {entry.name} is damaged")


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
