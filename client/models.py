"""Tuned models, and downloads that can be broken off and resumed."""

import hashlib
from pathlib import Path, PurePosixPath

import httpx

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput, TruthtuneError
from api_schemas.models import Model, ModelFile
from client.http import Connection
from client.pages import Listing
from client.problems import RequestFailed, Unreachable
from client.resources import Resource

_BROKEN_DOWNLOADS = 5


class DamagedDownload(TruthtuneError):
    """The bytes that came are not those that the model's record names."""

    code = "damaged_download"


class Models(Resource):
    def get(self, model_id: str) -> Model:
        return self._connection.get(Model, f"/v1/models/{model_id}")

    def list(self) -> Listing[Model]:
        return Listing(self._connection, "/v1/models", ListPage[Model])

    def download(self, model_id: str, folder: Path | str) -> Path:
        """Put the adapter's files into `folder`, each checked against its sha256; returns it.

        Files that are there already are kept; a download that broke off goes on from where it
        was. A file has its name only once it is whole. Raises DamagedDownload, and Unreachable if
        the service stays away.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for file in self.get(model_id).files:
            url = f"/v1/models/{model_id}/files/{file.name}"
            fetch(self._connection, url, file, _path_below(target, file.name))
        return target


def fetch(connection: Connection, url: str, file: ModelFile, target: Path) -> None:
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


def _path_below(folder: Path, name: str) -> Path:
    """A service must not be able to write outside of the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name:
        raise InvalidInput(f"the model has a file of the unsafe name {name!r}", param="name")
    return folder.joinpath(*parts)
