"""Base models that were made here, by their names `bm_…`: fetched whole from the artifact store.

The artifact whose digest is such a model's revision lists its files, `<name> <sha256 hex>` a line:
the very text that `base_models` digests. So whoever knows name and revision can have the model on
any machine that reaches the store, and can tell that it is the one.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from api_schemas.errors import InvalidInput, NotFound, TruthtuneError
from workers.artifacts import ArtifactStore, raise_if_full

_NAME = re.compile(r"bm_[0-9a-z]{26}")
_LINE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*) ([0-9a-f]{64})")
_CHUNK_BYTES = 1 << 20

_store: ArtifactStore | None = None


def is_own(name: str) -> bool:
    """Whether a base model of this name was made by this service."""
    return _NAME.fullmatch(name) is not None


def folder_of(name: str) -> Path:
    """Where such a model lies on this machine, once it does."""
    from workers.base_models import cache_folder  # which asks this module for such models

    return cache_folder() / name


def fetch_from(artifacts: ArtifactStore) -> None:
    """From now on this process fetches what it lacks from there: of a cluster's nodes, each does
    when it first loads the model. A process works for one store."""
    global _store
    _store = artifacts


def fetch_if_absent(name: str, revision: str) -> None:
    """Materialise a base model made here from the process's store; of others, and without a store,
    nothing: then `base_models` says that it isn't there."""
    if _store is not None and is_own(name):
        materialise(_store, name, revision)


def materialise(artifacts: ArtifactStore, name: str, revision: str) -> Path:
    """The model's folder in Hugging Face format, fetched unless it is there.

    The folder appears whole, by a rename: whoever is killed leaves none, and of several that race
    the first wins. Raises InvalidInput (`base_model`) for another name, TruthtuneError (code
    `base_model_damaged`) if the store lacks a file or has other bytes, StorageFull.
    """
    if not is_own(name):
        raise InvalidInput(f"base_model {name!r} was not made here", param="base_model")
    target = folder_of(name)
    if target.is_dir():
        return target
    files = files_of(artifacts, revision)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".fetching-"))
    try:
        for file, digest in files.items():
            _fetch(artifacts, digest, temporary / file, name)
        temporary.rename(target)
    except OSError as error:
        raise_if_full(error)
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def files_of(artifacts: ArtifactStore, revision: str) -> dict[str, str]:
    """The digest of each file of the model. Raises TruthtuneError (`base_model_damaged`)."""
    try:
        listing = artifacts.get(revision)
    except (NotFound, OSError) as error:
        raise _damaged(f"the list of its files, artifact {revision}: {error}") from error
    found = listed_files(listing)
    if found is None:
        raise _damaged(f"artifact {revision} is no list of a base model's files")
    return found


def listed_files(text: bytes) -> dict[str, str] | None:
    """The digests by file name in a list of a base model's files; None for anything else."""
    lines = text.decode("utf-8", "replace").splitlines()
    matches = [_LINE.fullmatch(line) for line in lines]
    found = {match[1]: f"sha256:{match[2]}" for match in matches if match}
    return found if lines and len(found) == len(lines) else None


def _fetch(artifacts: ArtifactStore, digest: str, target: Path, name: str) -> None:
    found = hashlib.sha256()
    try:
        with target.open("wb") as file:
            for chunk in _chunks(artifacts, digest):
                found.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())  # a folder that is there is whole, after a power cut too
    except NotFound as error:
        raise _damaged(f"{name} lacks its file {target.name}: {error.message}") from error
    if f"sha256:{found.hexdigest()}" != digest:
        raise _damaged(
            f"{name}'s file {target.name}, artifact {digest}, is damaged: its bytes hash to "
            f"sha256:{found.hexdigest()}"
        )


def _chunks(artifacts: ArtifactStore, digest: str) -> Iterator[bytes]:
    with artifacts.open(digest) as blob:
        while chunk := blob.read(_CHUNK_BYTES):
            yield chunk


def _damaged(reason: str) -> TruthtuneError:
    return TruthtuneError(
        f"a base model made here can't be had from the artifact store: {reason}",
        code="base_model_damaged",
        param="base_model",
    )
