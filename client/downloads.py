"""Downloads that can be broken off and resumed, checked against their sha256."""

import hashlib
from pathlib import Path

import httpx

from api_schemas.errors import TruthtuneError
from api_schemas.models import ModelFile
from client.http import Connection
from client.problems import RequestFailed, Unreachable

_BROKEN_DOWNLOADS = 5


class DamagedDownload(TruthtuneError):
    """The bytes that came are not those that the model's record names."""

    code = "damaged_download"


def fetch(connection: Connection, url: str, file: ModelFile, target: Path) -> None:
    """Raises DamagedDownload; the file has its name only once it is whole."""
    if target.exists() and sha256_of_file(target) == file.sha256:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    for attempt in range(_BROKEN_DOWNLOADS):
        try:
            _append(connection, url, file, partial)
            break
        except Unreachable:
            if attempt == _BROKEN_DOWNLOADS - 1:
                raise
    found = sha256_of_file(partial)
    if found != file.sha256:
        partial.unlink()
        raise DamagedDownload(
            f"{file.name} came with {found}, expected was {file.sha256}: download it again",
            param="sha256",
        )
    partial.replace(target)


def fetch_blob(connection: Connection, url: str, digest: str, target: Path) -> None:
    """Like `fetch`, of bytes whose number no record tells."""
    headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0"}
    with connection.stream("GET", url, headers=headers) as response:
        length = response.headers.get("content-range", "").rpartition("/")[2]
    if not length.isdecimal():
        raise RequestFailed(f"{url} doesn't tell its length")
    file = ModelFile(name=target.name, bytes=int(length), sha256=digest)
    fetch(connection, url, file, target)


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _append(connection: Connection, url: str, file: ModelFile, partial: Path) -> None:
    """Fetch what is missing of `partial`. If-Range: of another file, all is sent, not its rest."""
    have = partial.stat().st_size if partial.exists() else 0
    if have > file.bytes:
        partial.unlink()
        have = 0
    if have == file.bytes and partial.exists():
        return
    headers = {"Accept-Encoding": "identity"}  # a range counts the bytes as they are sent
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": f'"{file.sha256}"'}
    with connection.stream("GET", url, headers=headers) as response:
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumed and not response.headers.get("content-range", "").startswith(f"bytes {have}-"):
            raise RequestFailed(f"{url} answered another range than bytes {have}- of it")
        with partial.open("ab" if resumed else "wb") as stream:
            for chunk in response.iter_bytes():
                stream.write(chunk)
