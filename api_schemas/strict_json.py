"""JSON read one way only: what readers disagree about is refused, not guessed."""

import json
import re
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Lists and objects in one another. Ours have a dozen levels; readers recurse, and have an end."""

# A text, whole or broken off, is one match: brackets in it are none. Nothing is read twice.
_MARKS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


class NotJsonError(ValueError):
    """The text is not JSON, or is JSON that two readers could take differently."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises NotJsonError, saying why, for malformed text, a key that occurs twice in an object, NaN
    and infinities, nesting deeper than MAX_DEPTH, and integers longer than Python converts.
    """
    _refuse_deep(text)
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_object)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        raise NotJsonError(f"not JSON: {error.msg} at {line}column {error.colno}") from None
    except NotJsonError:
        raise
    except ValueError as error:  # an integer with more digits than Python converts
        raise NotJsonError(str(error)) from None


def _refuse_deep(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for mark in _MARKS.finditer(text):
        first = mark[0][0]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise NotJsonError(f"nested too deeply: more than {MAX_DEPTH} levels")
        elif first in "]}":
            depth -= 1


def _refuse_constant(name: str) -> NoReturn:
    raise NotJsonError(f"{name} is not JSON")


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python keeps the last of two equal keys, other readers the first: the text is ambiguous."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise NotJsonError(f"the key {key!r} occurs twice")
        found[key] = value
    return found
