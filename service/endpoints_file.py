"""The operator's list of endpoints: a TOML file with a table for each, and where their keys are.

    [openai]
    url = "https://api.openai.com/v1"
    models = ["gpt-4.1-mini"]
    key_env = "OPENAI_API_KEY"          # or key_file = "openai.key"; the key itself never
    prompt_price = 400_000              # of a million tokens, in millionths of the currency
    completion_price = 1_600_000
    currency = "USD"

The API knows names and models by it; the keys are read where endpoints are asked.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, overload
from urllib.parse import urlsplit

import structlog
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from api_schemas.errors import InvalidInput
from api_schemas.language_models import (
    EndpointAccess,
    EndpointModel,
    EndpointName,
    LanguageModelSpec,
    LocalModel,
)

log = structlog.get_logger()

_VARIABLE = "TRUTHTUNE_ENDPOINTS"
_URL = r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$"
_PRICES = {"prompt_price", "completion_price"}
_KEY_ITSELF = ("key", "api_key", "token", "secret")
_NAME: TypeAdapter[str] = TypeAdapter(EndpointName)


class ListedEndpoint(EndpointAccess):
    """A table of the file: an endpoint without its key, and where that is."""

    name: EndpointName = Field(exclude=True)
    url: str = Field(pattern=_URL)
    key: None = Field(None, exclude=True)
    key_missing: Literal[False] = Field(False, exclude=True)
    models: list[str] = Field(min_length=1)
    key_file: Path | None = None
    key_env: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _in_itself(self) -> Self:
        if self.key_file is not None and self.key_env is not None:
            raise ValueError("key_file: give it or key_env, not both")
        if (self.prompt_price or self.completion_price) and self.currency is None:
            raise ValueError('currency: a price needs one, such as "USD"')
        if self.currency is not None and not _PRICES & self.model_fields_set:
            raise ValueError("currency: give prompt_price and completion_price; 0 charges nothing")
        if any(not 1 <= len(model) <= 200 for model in self.models):
            raise ValueError("models: a name has 1 to 200 characters")
        return self

    @property
    def has_key(self) -> bool:
        return self.key_file is not None or self.key_env is not None

    @property
    def is_private_way(self) -> bool:
        """Whether nobody between here and there can read what is sent."""
        parts = urlsplit(self.url)
        return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")

    def without_key(self) -> EndpointAccess:
        kept = {name: getattr(self, name) for name in EndpointAccess.model_fields}
        return EndpointAccess.model_validate(kept)


@dataclass(frozen=True)
class EndpointList:
    """What may be asked, by name; `path` is the file's, null where the setting is."""

    path: Path | None = None
    listed: Mapping[str, ListedEndpoint] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Raises InvalidInput (`TRUTHTUNE_ENDPOINTS`), naming file, table and field."""
        if path is None:
            return cls()
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise _bad(path, f"it can't be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise _bad(path, f"it is not TOML: {error}") from None
        return cls(path, {name: _listed(path, name, table) for name, table in tables.items()})

    @overload
    def require(
        self, spec: EndpointModel, param: str, *, by_group: bool = False
    ) -> EndpointAccess: ...

    @overload
    def require(self, spec: LocalModel, param: str, *, by_group: bool = False) -> None: ...

    @overload
    def require(
        self, spec: LanguageModelSpec, param: str, *, by_group: bool = False
    ) -> EndpointAccess | None: ...

    def require(
        self, spec: LanguageModelSpec, param: str, *, by_group: bool = False
    ) -> EndpointAccess | None:
        """The endpoint, without its key, of a spec that names a listed one and a model of it; None
        of a spec that names none. Raises InvalidInput naming the field and what is allowed.

        `by_group`: only endpoints that groups may use are there.
        """
        if not isinstance(spec, EndpointModel):
            return None
        allowed = {
            name: each for name, each in self.listed.items() if each.groups_may_use or not by_group
        }
        found = allowed.get(spec.endpoint)
        if found is None:
            whose = "that groups may use " if by_group else ""
            raise InvalidInput(
                f"{param}.endpoint: {spec.endpoint!r} is none of the endpoints {whose}here: "
                f"{', '.join(allowed) or 'there are none'}; the operator lists them in the file "
                f"{_VARIABLE}",
                code="unknown_endpoint",
                param=f"{param}.endpoint",
            )
        if spec.model not in found.models:
            raise InvalidInput(
                f"{param}.model: {spec.model!r} is none of the models of endpoint "
                f"{spec.endpoint!r}: {', '.join(found.models)}",
                code="unknown_endpoint",
                param=f"{param}.model",
            )
        return found.without_key()

    def with_keys(self) -> tuple[EndpointAccess, ...]:
        """All of them, with their keys read now. Raises InvalidInput as `read` does."""
        return tuple(
            each.without_key().model_copy(update={"key": self.key_of(each)})
            for each in self.listed.values()
        )

    def with_keys_there_are(self) -> tuple[EndpointAccess, ...]:
        """As `with_keys`, but an endpoint whose key can't be read is logged and marked: only what
        asks it fails. For a service that runs."""
        found = []
        for each in self.listed.values():
            try:
                changes: dict[str, Any] = {"key": self.key_of(each)}
            except InvalidInput as error:
                log.error("endpoint_key_missing", endpoint=each.name, reason=error.message)
                changes = {"key_missing": True}
            found.append(each.without_key().model_copy(update=changes))
        return tuple(found)

    def key_of(self, endpoint: ListedEndpoint) -> str | None:
        """Raises InvalidInput for a key that is not there, or no header can hold."""
        if self.path is None:
            raise ValueError(f"endpoint {endpoint.name!r} comes from no file")
        if endpoint.key_env is not None:
            where = f"key_env: the variable {endpoint.key_env}"
            key = os.environ.get(endpoint.key_env)
        elif endpoint.key_file is not None:
            file = self.key_path(endpoint.key_file)
            where = f"key_file: {file}"
            try:
                key = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is no text"
                raise _bad(self.path, f"[{endpoint.name}] {where}: {reason}") from None
        else:
            return None
        key = (key or "").strip()
        if not key:
            raise _bad(self.path, f"[{endpoint.name}] {where} is empty or not set")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise _bad(self.path, f"[{endpoint.name}] {where} holds more than one line of a key")
        return key

    def key_path(self, key_file: Path) -> Path:
        """Relative to the file that names it, wherever a process was started."""
        return key_file if self.path is None else self.path.parent / key_file.expanduser()


def _listed(path: Path, name: str, table: Any) -> ListedEndpoint:
    try:
        _NAME.validate_python(name)
    except ValidationError:
        raise _bad(
            path, f"[{name}]: a name has small letters, digits, - and _, at most 63"
        ) from None
    if not isinstance(table, dict):
        raise _bad(path, f"{name} is no table: write [name], then its fields")
    for field_name in _KEY_ITSELF:
        if field_name in table:
            raise _bad(
                path,
                f"[{name}] {field_name}: a key never stands in this file; name the file or the "
                "variable that holds it, as key_file or key_env",
            )
    if "name" in table:
        raise _bad(path, f"[{name}] name: the table's own name is the endpoint's")
    if "key_missing" in table:
        raise _bad(path, f"[{name}] key_missing: no field of this file")
    try:
        return ListedEndpoint.model_validate({**table, "name": name})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise _bad(path, f"[{name}] {where}{': ' if where else ''}{said}") from None


def _bad(path: Path, reason: str) -> InvalidInput:
    return InvalidInput(f"{_VARIABLE}: {path}: {reason}", param=_VARIABLE)
