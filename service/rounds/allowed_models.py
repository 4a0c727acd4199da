"""Which base models a round may announce: those that the operator listed, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

from api_schemas.errors import InvalidInput


def require_allowed(name: str, allowed: Sequence[str], param: str = "base_model") -> None:
    """Raises InvalidInput (`param`) unless `name` is listed, or a path in a folder whose path is.

    Asked before anything is looked for: no name may make the service read a folder, or fetch.
    """
    if name in allowed or _is_in_listed_folder(name, allowed):
        return
    raise InvalidInput(
        f"{param} {name[:100]!r} is none of those that rounds may announce here: "
        f"{', '.join(allowed)}; the operator can add to them with TRUTHTUNE_BASE_MODELS",
        code="unknown_base_model",
        param=param,
    )


def _is_in_listed_folder(name: str, allowed: Sequence[str]) -> bool:
    """Links are followed first: one in a listed folder does not lead out of it."""
    if not name.startswith("/") or "\0" in name:
        return False
    path = Path(name).resolve()
    folders = [Path(each).resolve() for each in allowed if each.startswith("/")]
    return any(path.is_relative_to(folder) for folder in folders)
