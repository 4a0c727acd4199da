"""A JSON document read field by field: what is wrong is named by its JSON path and value."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from api_schemas.errors import InvalidInput
from workers.mechanism.arrays import Floats, Mask

_ROOT = "$"
_SHOWN = 60
"""Characters of a value that an error shows."""

_SUM_TOLERANCE = 1e-6
"""How far weights may sum from 1 before being rescaled to 1; decimals in a file are rounded."""


def refuse(path: str, complaint: str) -> NoReturn:
    """Raise InvalidInput `path: complaint`."""
    raise InvalidInput(f"{path}: {complaint}", param=path)


class _Object(dict[str, Any]):
    """A JSON object that remembers a key that came twice; a plain dict keeps the last silently."""

    repeated: str | None = None

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        if len(self) < len(pairs):
            keys = [key for key, _ in pairs]
            self.repeated = next(key for key in keys if keys.count(key) > 1)


@dataclass(frozen=True)
class Field:
    """A value and its path in the document."""

    value: Any
    path: str = _ROOT

    def refuse(self, complaint: str) -> NoReturn:
        refuse(self.path, f"{_shown(self.value)} {complaint}")

    def members(self, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, "Field"]:
        """The members of an object that has all of `required` and none beyond `optional`."""
        if not isinstance(self.value, _Object):
            self.refuse("is not an object")
        found = {key: Field(value, self._below(key)) for key, value in self.value.items()}
        known = [*required, *optional]
        if self.value.repeated is not None:
            refuse(self._below(self.value.repeated), "appears twice")
        for key in found:
            if key not in known:
                refuse(self._below(key), f"unknown, expected one of {', '.join(known)}")
        for key in required:
            if key not in found:
                refuse(self._below(key), "missing")
        return found

    def items(self) -> list["Field"]:
        """The items of a list that isn't empty."""
        if not isinstance(self.value, list):
            self.refuse("is not a list")
        if not self.value:
            refuse(self.path, "is empty")
        return [Field(value, f"{self.path}[{i}]") for i, value in enumerate(self.value)]

    def one_of(self, choices: Iterable[str]) -> str:
        if self.value not in [*choices]:
            self.refuse(f"is not one of {', '.join(choices)}")
        return str(self.value)

    def number(self) -> float:
        """A finite number; JSON's true and false are none."""
        if type(self.value) not in (int, float):
            self.refuse("is not a number")
        try:
            number = float(self.value)
        except OverflowError:
            number = np.inf
        if not np.isfinite(number):
            self.refuse("is not finite")
        return number

    def numbers(self, length: int | None = None) -> Floats:
        """A list of finite numbers, of the given length or of any but 0."""
        values = self.value if isinstance(self.value, list) else self.items()
        if length is not None and len(values) != length:
            refuse(self.path, f"has {len(values)} numbers, expected {length}")
        # Checked all at once: item by item a million rewards would take seconds.
        if values and {type(value) for value in values} <= {float, int}:
            with suppress(OverflowError):
                array = np.array(values, dtype=np.float64)
                if np.isfinite(array).all():
                    return array
        return np.array([item.number() for item in self.items()])

    def refuse_where(self, bad: Mask, complaint: str) -> None:
        """Refuse the first number of the list where `bad`."""
        if bad.any():
            self.items()[int(bad.argmax())].refuse(complaint)

    def _below(self, key: str) -> str:
        return key if self.path == _ROOT else f"{self.path}.{key}"


def parse(document: bytes) -> Field:
    """The root of a JSON document. Raises InvalidInput with the place if it is none."""
    try:
        return Field(json.loads(document, object_pairs_hook=_Object))
    except RecursionError:
        refuse(_ROOT, "not a game: lists or objects are nested too deeply")
    except ValueError as error:  # also of text that is not UTF-8
        refuse(_ROOT, f"not JSON: {error}")


def normalised(path: str, weights: Floats) -> Floats:
    """Weights that sum to 1 up to the rounding of a file, rescaled to sum to 1 in float64."""
    total = float(weights.sum())
    if not abs(total - 1) <= _SUM_TOLERANCE:
        refuse(path, f"the sum is {total}, expected 1")
    return weights / total


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:  # an integer too long to print
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
