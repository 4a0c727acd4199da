"""What a training needs to go on after its process was killed: one file beside the artifacts."""

import os
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from workers.artifacts import ArtifactStore, raise_if_full
from workers.remote_stores import remote_filesystem
from workers.tensors import pack, unpack

_FILE = "state.safetensors"


class KeptState:
    """The last state of the training `run_name`, where every node that has the artifacts reaches
    it, and where the runner's `forget_training` finds it."""

    def __init__(self, artifacts: ArtifactStore, run_name: str):
        self._url = f"{artifacts.url.rstrip('/')}/training/{run_name}"

    def save(self, tensors: dict[str, Tensor], meta: Any) -> None:
        """Replaces the state before, whole or not at all. Raises StorageFull."""
        data = pack(tensors, meta)
        if self._is_remote:
            filesystem, folder = remote_filesystem(self._url)
            filesystem.makedirs(folder, exist_ok=True)
            filesystem.pipe_file(f"{folder}/{_FILE}", data)
            return
        folder_here = Path(self._local)
        try:
            folder_here.mkdir(parents=True, exist_ok=True)
            _replace(folder_here / _FILE, data)
        except OSError as error:
            raise_if_full(error)
            raise

    def load(self) -> tuple[dict[str, Tensor], Any] | None:
        """None if nothing was saved yet."""
        try:
            if self._is_remote:
                filesystem, folder = remote_filesystem(self._url)
                data: bytes = filesystem.cat_file(f"{folder}/{_FILE}")
            else:
                data = Path(self._local, _FILE).read_bytes()
        except FileNotFoundError:
            return None
        return unpack(data)

    @property
    def _is_remote(self) -> bool:
        return "://" in self._url and not self._url.startswith("file://")

    @property
    def _local(self) -> str:
        return self._url.removeprefix("file://")


def _replace(target: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".saving-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
