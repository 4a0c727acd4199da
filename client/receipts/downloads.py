"""That the adapter and the pool are, byte for byte, those that a receipt names."""

from collections.abc import Iterator
from pathlib import Path

from api_schemas.errors import InvalidInput
from api_schemas.ledger import ReceiptBody
from api_schemas.models import ModelFile, adapter_digest
from api_schemas.receipt_checks import Finding, compared, not_checked
from client.downloads import sha256_of_file


def check_adapter(body: ReceiptBody, folder: Path | None) -> Finding:
    """Of the folder's files, by name and sha256; hidden ones are the reader's own."""
    if folder is None:
        return not_checked("adapter", "give --adapter, the folder it was downloaded to")
    files = list(_files(folder))
    found = adapter_digest(files)
    names = ", ".join(file.name for file in files)
    holds = found == body.adapter_digest
    return compared("adapter", holds, f"{names or 'no files'}: {found}")


def check_pool(body: ReceiptBody, pool: Path | None) -> Finding:
    if pool is None:
        return not_checked("pool", "give --pool, as `truthtune round pool` downloads it")
    found = _sha256(pool)
    return compared("pool", found == body.pool_digest, f"{pool} has {found}")


def _files(folder: Path) -> Iterator[ModelFile]:
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder")
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            yield ModelFile(name=path.name, bytes=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from None
