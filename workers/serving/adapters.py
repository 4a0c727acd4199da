"""LoRA adapters beside each other on one base model, loaded as whoever downloads them would."""

import io
import itertools
import tempfile
import zipfile
from dataclasses import dataclass
from typing import Any

from workers.artifacts import ArtifactStore
from workers.base_models import BaseModel


@dataclass(eq=False)
class Adapter:
    """A loaded adapter; `name` is PEFT's name of it, of no other load."""

    name: str


_NONE = Adapter("")
"""Stands for the base model itself."""


class Adapters:
    """The adapters on one base model. One thread at a time: the active one is the model's state."""

    def __init__(self, base: BaseModel, artifacts: ArtifactStore):
        self._base, self._artifacts = base, artifacts
        self._peft: Any = None
        self._active: Adapter | None = _NONE
        self._names = (f"adapter{number}" for number in itertools.count())

    def load(self, digest: str) -> Adapter:
        """Load the `adapter.zip` of this digest. Raises NotFound, OSError if it is damaged."""
        from peft import PeftModel

        adapter = Adapter(next(self._names))
        archive = zipfile.ZipFile(io.BytesIO(self._artifacts.get(digest)))
        self._active = None  # whatever PEFT leaves active
        with archive, tempfile.TemporaryDirectory() as folder:
            archive.extractall(folder)
            where = {"torch_device": str(self._base.model.device)}
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(
                    self._base.model, folder, adapter_name=adapter.name, **where
                )
            else:
                self._peft.load_adapter(folder, adapter_name=adapter.name, **where)
        self._peft.eval()
        return adapter

    def activate(self, adapter: Adapter | None) -> None:
        """What the model computes from now on: with this adapter, or for None the base model."""
        wanted = adapter or _NONE
        if wanted is self._active:
            return
        if wanted is _NONE:
            if self._peft is not None:
                self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.base_model.set_adapter(wanted.name)
        self._active = wanted

    def remove(self, name: str) -> None:
        """Free an adapter's memory."""
        self._active = None
        self._peft.delete_adapter(name)
