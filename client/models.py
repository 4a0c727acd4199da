"""Tuned models."""

from pathlib import Path, PurePosixPath

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput
from api_schemas.models import Model
from client.downloads import fetch
from client.pages import Listing
from client.resources import Resource


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


def _path_below(folder: Path, name: str) -> Path:
    """A service must not be able to write outside of the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name:
        raise InvalidInput(f"the model has a file of the unsafe name {name!r}", param="name")
    return folder.joinpath(*parts)
