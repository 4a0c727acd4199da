"""Files that were uploaded for rounds, reports and reward models."""

from pathlib import Path
from typing import BinaryIO

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput
from api_schemas.files import File, FileDeleted, FilePurpose
from api_schemas.models import ModelFile
from client.downloads import OnDownload, fetch
from client.http import Connection
from client.modes import Method, Mode, Resource
from client.pages import Listing


class Files(Resource[Mode]):
    @Method
    async def upload(
        self, file: Path | str, purpose: FilePurpose, *, idempotency_key: str | None = None
    ) -> File:
        """Send a file from disk; it is read as it is sent, never held in memory whole.

        Raises InvalidInput (`file`) if it can't be read here, or for a bad line in it.
        """
        return await uploaded(self._connection, Path(file), purpose, idempotency_key)

    @Method
    async def upload_stream(
        self,
        stream: BinaryIO,
        filename: str,
        purpose: FilePurpose,
        *,
        idempotency_key: str | None = None,
    ) -> File:
        """Like `upload`; the stream must be seekable, because a retry reads it from its start."""
        return await _sent(self._connection, stream, filename, purpose, idempotency_key)

    @Method
    async def get(self, file_id: str) -> File:
        return await self._connection.get(File, f"/v1/files/{file_id}")

    def list(self) -> Listing[Mode, File]:
        return Listing(self._connection, "/v1/files", ListPage[File])

    @Method
    async def delete(self, file_id: str) -> FileDeleted:
        """Raises Conflict while something may need the file."""
        return await self._connection.delete(FileDeleted, f"/v1/files/{file_id}")

    @Method
    async def content(self, file_id: str) -> bytes:
        return await self._connection.content(f"/v1/files/{file_id}/content")

    @Method
    async def download(
        self, file_id: str, file: Path | str, on_progress: OnDownload | None = None
    ) -> Path:
        """Put the content into `file`, checked against its sha256; like `models.download`."""
        record = await self._connection.get(File, f"/v1/files/{file_id}")
        target = Path(file)
        expected = ModelFile(name=target.name, bytes=record.bytes, sha256=record.sha256)
        url = f"/v1/files/{file_id}/content"
        await fetch(self._connection, url, expected, target, on_progress)
        return target


async def uploaded(
    connection: Connection, path: Path, purpose: FilePurpose, idempotency_key: str | None = None
) -> File:
    """See `Files.upload`."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}", param="file") from error
    with stream:
        return await _sent(connection, stream, path.name, purpose, idempotency_key)


async def _sent(
    connection: Connection,
    stream: BinaryIO,
    filename: str,
    purpose: FilePurpose,
    idempotency_key: str | None,
) -> File:
    return await connection.create(
        File,
        "/v1/files",
        idempotency_key=idempotency_key,
        data={"purpose": purpose},
        files={"file": (filename, stream)},
    )
