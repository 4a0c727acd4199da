"""Tuned models."""

from pathlib import Path, PurePosixPath

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput
from api_schemas.models import Model
from client.downloads import OnDownload, fetch
from client.modes import Method, Mode, Resource
from client.pages import Listing


class Models(Resource[Mode]):
    @Method
    async def get(self, model_id: str) -> Model:
        return await self._connection.get(Model, f"/v1/models/{model_id}")

    def list(self) -> Listing[Mode, Model]:
        return Listing(self._connection, "/v1/models", ListPage[Model])

    @Method
    async def download(
        self, model_id: str, folder: Path | str, on_progress: OnDownload | None = None
    ) -> Path:
        """Put the adapter's files into `folder`, each checked against its sha256; returns it.

        Files that are there already are kept; a download that broke off goes on from where it
        was. A file has its name only once it is whole. Raises DamagedDownload, and Unreachable if
        the service stays away.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        model = await self._connection.get(Model, f"/v1/models/{model_id}")
        for file in model.files:
            url = f"/v1/models/{model_id}/files/{file.name}"
            path = _path_below(target, file.name)
            await fetch(self._connection, url, file, path, on_progress)
        return target


def _path_below(folder: Path, name: str) -> Path:
    """A service must not be able to write outside of the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name:
        raise InvalidInput(f"the model has a file of the unsafe name {name!r}", param="name")
    return folder.joinpath(*parts)
