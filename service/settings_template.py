"""A settings file with every setting, its reason and its default, commented out."""

import os
import secrets
import textwrap
from collections.abc import Mapping
from pathlib import Path

from api_schemas.errors import InvalidInput
from api_schemas.settings_file import CLIENT_VARIABLES, line_of, read_settings_file
from service.settings import Settings
from service.settings_file import variables

_WIDTH = 98
_HEAD = """\
The settings of Truthtune: NAME=value lines. Take the # away from a line to set it.
A variable of the environment wins over a line here. `truthtune doctor` checks all of it.
Whoever reads the secrets below may read every report: keep this file to its owner (mode 0600)."""
_CLIENT = {
    "TRUTHTUNE_URL": ("http://127.0.0.1:8321", "For the client's commands: where the service is."),
    "TRUTHTUNE_API_KEY": ("", "For the client's commands: your API key."),
}


def write_settings_file(path: Path, text: str, overwrite: bool) -> None:
    """Whole or not at all, for its owner's eyes alone. Raises InvalidInput if it is there."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            (os.replace if overwrite else os.link)(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError:
        raise InvalidInput(
            f"{path} is there already: --force writes it anew and keeps the values that it sets"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{path} can't be written: {error.strerror}") from None


def kept_values(path: Path) -> dict[str, str]:
    """What an existing file sets: a seal key that is overwritten is lost, and all reports with it.

    Raises InvalidInput for a file that can't be read, or sets what is no setting.
    """
    if not path.exists():
        return {}
    file = read_settings_file(path)
    for name in file.settings:
        if name not in (*variables(Settings.model_fields), *CLIENT_VARIABLES):
            raise InvalidInput(f"{file.place(name)}: {name} is no setting: remove the line first")
    return {name: setting.value for name, setting in file.settings.items()}


def made_secrets(settings: Settings) -> dict[str, str]:
    """Both secrets: those in use, from the settings or `home`, or else new ones."""
    from service.auth import load_key_secret
    from service.vault import seal_key_text

    return {
        "TRUTHTUNE_KEY_SECRET": load_key_secret(settings).decode(),
        "TRUTHTUNE_SEAL_KEY": seal_key_text(settings),
    }


def settings_text(values: Mapping[str, str]) -> str:
    """The file's text: the lines of `values` set, all others commented out."""
    parts = [_comment(_HEAD)]
    for name, field in Settings.model_fields.items():
        variable = variables([name])[0]
        default = "" if field.default is None else str(field.default)
        parts.append(_entry(variable, field.description or "", default, values))
    for variable, (default, description) in _CLIENT.items():
        parts.append(_entry(variable, description, default, values))
    return "\n\n".join(parts) + "\n"


def _entry(variable: str, description: str, default: str, values: Mapping[str, str]) -> str:
    set_to = values.get(variable)
    line = f"#{variable}={default}" if set_to is None else line_of(variable, set_to)
    return f"{_comment(description)}\n{line}"


def _comment(text: str) -> str:
    lines = [line for each in text.splitlines() for line in textwrap.wrap(each, _WIDTH)]
    return "\n".join(f"# {line}" for line in lines)
