"""JSON read one way only: what readers disagree about is refused, not guessed."""

import json
from typing import Any, NoReturn


class NotJsonError(ValueError):
    """The text is not JSON, or is JSON that two readers could take differently."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises NotJsonError, saying why, for malformed text, a key that occurs twice in an object, NaN
    and infinities, nesting deeper than Python reads, and integers longer than it converts.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_object)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        raise NotJsonError(f"not JSON: {error.msg} at {line}column {error.colno}") from None
    except RecursionError:
        raise NotJsonError("nested too deeply") from None
    except NotJsonError:
        raise
    except ValueError as error:  # an integer with more digits than Python converts
        raise NotJsonError(str(error)) from None


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
