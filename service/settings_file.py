"""How settings come from a file, and how a wrong one is named: by file, line and variable."""

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource

from api_schemas.errors import InvalidInput
from api_schemas.settings_file import (
    CLIENT_VARIABLES,
    FILE_VARIABLE,
    PREFIX,
    SettingsFile,
    read_settings_file,
)

Kind = TypeVar("Kind", bound=BaseSettings)

FROM_ENVIRONMENT_ALONE = (FILE_VARIABLE, f"{PREFIX}MODEL_CACHE")
"""Processes of Ray read the folder of models, and they have an environment and no file."""


class FileSource(EnvSettingsSource):
    """The settings file, read as if its lines were variables. Raises InvalidInput for a bad one."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        file = read_settings_file()
        known = (*variables(self.settings_cls.model_fields), *CLIENT_VARIABLES)
        for name in file.settings:
            if name not in known:
                raise InvalidInput(f"{file.place(name)}: {_unknown(name, known)}", param=name)
        return {name.lower(): setting.value for name, setting in file.settings.items()}


def variables(fields: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{PREFIX}{name.upper()}" for name in fields)


def read_settings(kind: type[Kind]) -> Kind:
    """Raises InvalidInput, one line, that names the variable at fault and where it is set."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = f"{PREFIX}{'.'.join(map(str, first['loc'])).upper()}"
        message = f"{name}: {first['msg'].removeprefix('Value error, ')}"
        raise InvalidInput(f"{_origin(name, read_settings_file())}{message}", param=name) from None


def misspelt(known_fields: Iterable[str]) -> list[str]:
    """Variables of the environment that look like settings and are none, each with a guess."""
    known = (*variables(known_fields), *CLIENT_VARIABLES, *FROM_ENVIRONMENT_ALONE)
    found = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    return [_unknown(name, known) for name in found]


def _unknown(name: str, known: Iterable[str]) -> str:
    if name in FROM_ENVIRONMENT_ALONE:
        return f"{name} is read from the environment alone"
    close = difflib.get_close_matches(name, list(known), 1)
    return f"{name} is no setting" + (f"; is {close[0]} meant?" if close else "")


def _origin(name: str, file: SettingsFile) -> str:
    in_file = name in file.settings and name not in os.environ
    return f"{file.place(name)}: " if in_file else ""
