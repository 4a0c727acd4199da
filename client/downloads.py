"""Downloads that can be broken off and resumed, checked against their sha256."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from api_schemas.errors import InvalidInput, TruthtuneError
from api_schemas.models import ModelFile
from client.http import Connection
from client.problems import RequestFailed, Unreachable

_BROKEN_DOWNLOADS = 5
_NOTHING = f"sha256:{hashlib.sha256().hexdigest()}"


class DamagedDownload(TruthtuneError):
    """The bytes that came are not those that the model's record names."""

    code = "damaged_download"


@dataclass(frozen=True)
class DownloadProgress:
    """Of one file: how many of its bytes are on disk, also from an earlier attempt, of how many."""

    file: str
    done_bytes: int
    total_bytes: int


OnDownload = Callable[[DownloadProgress], None]


async def fetch(
    connection: Connection,
    url: str,
    file: ModelFile,
    target: Path,
    on_progress: OnDownload | None = None,
) -> None:
    """Put the file at `target`; it has that name only once it is whole, and `….partial` before.

    A partial file is continued, whoever left it; if the whole is then not what it should be, it
    was of something else, and all is fetched anew. Raises DamagedDownload, Unreachable, and
    InvalidInput if it can't be written.
    """
    told = _Told(file, on_progress)
    with _writing(target):
        if target.exists() and await connection.run(sha256_of_file, target) == file.sha256:
            return told.have(file.bytes)
        target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    continued = partial.exists()
    found = await _completed(connection, url, file, partial, told)
    if found != file.sha256 and continued:
        partial.unlink()
        found = await _completed(connection, url, file, partial, told)
    if found != file.sha256:
        partial.unlink()
        raise DamagedDownload(
            f"{file.name} came with {found}, expected was {file.sha256}: download it again",
            param="sha256",
        )
    with _writing(target):
        partial.replace(target)


async def fetch_blob(
    connection: Connection,
    url: str,
    digest: str,
    target: Path,
    on_progress: OnDownload | None = None,
) -> None:
    """Like `fetch`, of bytes whose number no record tells."""
    if digest == _NOTHING:  # of which there is no first byte to ask for
        return await fetch(
            connection,
            url,
            ModelFile(name=target.name, bytes=0, sha256=digest),
            target,
            on_progress,
        )
    headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0"}
    async with connection.stream(url, headers) as answer:
        length = answer.headers.get("content-range", "").rpartition("/")[2]
    if not length.isdecimal():
        raise RequestFailed(f"{url} doesn't tell its length")
    file = ModelFile(name=target.name, bytes=int(length), sha256=digest)
    await fetch(connection, url, file, target, on_progress)


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


@dataclass(frozen=True)
class _Told:
    """Who is told how much of the file is there."""

    file: ModelFile
    on_progress: OnDownload | None

    def have(self, done: int) -> None:
        if self.on_progress is not None:
            self.on_progress(DownloadProgress(self.file.name, done, self.file.bytes))


async def _completed(
    connection: Connection, url: str, file: ModelFile, partial: Path, told: _Told
) -> str:
    """Fetch what is missing of `partial`, over several connections if need be; its sha256."""
    for attempt in range(_BROKEN_DOWNLOADS):
        try:
            await _append(connection, url, file, partial, told)
            break
        except Unreachable:
            if attempt == _BROKEN_DOWNLOADS - 1:
                raise
    return await connection.run(_kept, partial)


async def _append(
    connection: Connection, url: str, file: ModelFile, partial: Path, told: _Told
) -> None:
    """Over one connection. If-Range: of another file, all is sent, not its rest."""
    have = _length(partial, file)
    told.have(have)
    if have == file.bytes and partial.exists():
        return
    headers = {"Accept-Encoding": "identity"}  # a range counts the bytes as they are sent
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": f'"{file.sha256}"'}
    async with connection.stream(url, headers) as answer:
        resumed = answer.status == httpx.codes.PARTIAL_CONTENT
        if resumed and not answer.headers.get("content-range", "").startswith(f"bytes {have}-"):
            raise RequestFailed(f"{url} answered another range than bytes {have}- of it")
        with _writing(partial):
            stream = partial.open("ab" if resumed else "wb")
        with stream:
            async for chunk in answer.chunks:
                with _writing(partial):
                    stream.write(chunk)
                    stream.flush()  # what is told to be there outlives this process
                told.have(stream.tell())


def _length(partial: Path, file: ModelFile) -> int:
    """Of what is there already; a file that is too long is of something else, and removed."""
    have = partial.stat().st_size if partial.exists() else 0
    if have <= file.bytes:
        return have
    partial.unlink()
    return 0


def _kept(partial: Path) -> str:
    """The file's sha256, once a loss of power can't take its bytes away."""
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    return sha256_of_file(partial)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{path} can't be written: {error.strerror}", param="file") from error
