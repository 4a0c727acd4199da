"""What the clients of corpora, base models and evaluations share."""

from pathlib import Path
from typing import Protocol, TypeVar

from api_schemas.errors import Conflict
from client.downloads import OnDownload, fetch_blob
from client.http import Connection

Result = TypeVar("Result", covariant=True)


class Product(Protocol[Result]):
    """What a job of the operator's makes; its result is there once that has succeeded."""

    @property
    def id(self) -> str: ...

    @property
    def job_id(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def result(self) -> Result | None: ...


def result_of(noun: str, found: Product[Result]) -> Result:
    """Raises Conflict, as the service does, while there is none."""
    if found.result is None:
        raise Conflict(
            f"{noun} {found.id} is not ready: its job {found.job_id} is {found.status}",
            code=f"{noun.replace(' ', '_')}_not_ready",
        )
    return found.result


async def download(
    connection: Connection, url: str, digest: str, file: Path | str, on_progress: OnDownload | None
) -> Path:
    """A part of a result, into `file`."""
    target = Path(file)
    await fetch_blob(connection, url, digest, target, on_progress)
    return target
