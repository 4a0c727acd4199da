"""Is a base model at hand? Found without loading it, and without fetching anything."""

from pathlib import Path
from typing import Literal

from api_schemas.errors import InvalidInput
from workers.base_models import is_hub_id, is_sentence_encoder, resolve

Readiness = Literal["ready", "to_convert", "to_fetch"]


def readiness(name: str) -> Readiness:
    """A GGUF file is converted, and a model of the hub fetched, when it is prepared or first used.

    Raises InvalidInput if there is no such model, or its folder can't be one.
    """
    if is_hub_id(name) and not is_fetched(name):
        return "to_fetch"
    return "ready" if resolve(name).folder.is_dir() else "to_convert"


def require_writer(name: str) -> None:
    """Raises InvalidInput for a sentence encoder: no round can start from one."""
    resolved = resolve(name)
    if resolved.folder.is_dir() and is_sentence_encoder(resolved):
        raise InvalidInput(f"{name} is a sentence encoder: it can't write responses")


def models_in(folder: Path) -> list[Path] | None:
    """The models in a folder of models, as rounds may name them; None for what is a model itself,
    or no folder."""
    if not folder.is_dir() or (folder / "config.json").exists():
        return None
    return sorted(file.parent for file in folder.glob("*/config.json"))


def is_fetched(name: str) -> bool:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        huggingface_hub.snapshot_download(name, local_files_only=True)
    except LocalEntryNotFoundError:
        return False
    except ValueError as error:  # of a name that the hub allows nobody
        raise InvalidInput(f"base_model {name!r}: {error}") from None
    return True
