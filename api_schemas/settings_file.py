"""The settings file: lines of `NAME=value`, read beside the environment, which wins.

It is the file that `TRUTHTUNE_SETTINGS_FILE` names, else `truthtune.env` in the working directory.
The service and the client read the same one.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from api_schemas.errors import InvalidInput

PREFIX = "TRUTHTUNE_"
FILE_VARIABLE = f"{PREFIX}SETTINGS_FILE"
DEFAULT_FILE = "truthtune.env"
CLIENT_VARIABLES = (f"{PREFIX}URL", f"{PREFIX}API_KEY")
"""Where the service is and who asks: the client's own, in the same file."""

_LINE = re.compile(rf"({PREFIX}[A-Z0-9_]+)=(.*)")
_QUOTES = ('"', "'")


@dataclass(frozen=True)
class Setting:
    value: str = field(repr=False)
    line: int


@dataclass(frozen=True)
class SettingsFile:
    """What a file sets, by name. Without a file, nothing."""

    path: Path
    settings: Mapping[str, Setting]

    def value(self, name: str) -> str | None:
        found = self.settings.get(name)
        return None if found is None else found.value

    def lies_here(self, name: str) -> bool:
        """Whether a file that nobody named, in the working directory, sets this."""
        return name in self.settings and not os.environ.get(FILE_VARIABLE)

    def place(self, name: str) -> str:
        return f"{self.path}, line {self.settings[name].line}"


def settings_path() -> Path:
    """Where the file is, or would be."""
    return Path(os.environ.get(FILE_VARIABLE) or DEFAULT_FILE)


def read_settings_file(path: Path | None = None) -> SettingsFile:
    """The file's settings; none if it is absent, unless TRUTHTUNE_SETTINGS_FILE or `path` names it.

    Raises InvalidInput naming the file, the line and what is wrong.
    """
    named = path is not None or bool(os.environ.get(FILE_VARIABLE))
    path = path or settings_path()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if not named:
            return SettingsFile(path, {})
        raise InvalidInput(
            f"the settings file {path} is absent: `truthtune init --file {path}` makes one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"the settings file {path} can't be read: {reason}") from None
    return SettingsFile(path, _settings(path, text))


def line_of(name: str, value: str) -> str:
    """A line that `read_settings_file` reads as this value. Raises InvalidInput for two lines."""
    if "\n" in value or "\r" in value:
        raise InvalidInput(f"{name} holds a line break, which a settings file can't", param=name)
    bare = bool(value) and value == value.strip() and " #" not in value
    plain = bare and not value.startswith(_QUOTES)
    return f"{name}={value}" if plain else f'{name}="{value}"'


def _settings(path: Path, text: str) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for number, line in enumerate(text.split("\n"), start=1):  # \r goes with the other blanks
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        place = f"{path}, line {number}"
        name, value = _parts(place, line.strip())
        if name in found:
            raise InvalidInput(f"{place}: {name} is set on line {found[name].line} already")
        found[name] = Setting(value, number)
    return found


def _parts(place: str, line: str) -> tuple[str, str]:
    """The line itself is not shown: it may hold a secret."""
    matched = _LINE.fullmatch(line)
    if matched is None:
        raise InvalidInput(f"{place} is not NAME=value with a NAME that starts with {PREFIX}")
    name, value = matched[1], matched[2].strip()
    if value.startswith(_QUOTES):
        if len(value) < 2 or value[-1] != value[0]:
            raise InvalidInput(f"{place}: {name} has a quote without its end")
        return name, value[1:-1]
    if not value:
        raise InvalidInput(f"{place}: {name} has no value: give one, or put # before the name")
    if " #" in value:
        raise InvalidInput(f'{place}: {name} holds " #": put the value in quotes')
    return name, value
