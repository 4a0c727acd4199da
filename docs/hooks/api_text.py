"""Parts of an OpenAPI document as Markdown: types, tables of fields and of parameters."""

import json
import re
from collections.abc import Sequence
from typing import Any

_LIST_REFERENCE = re.compile(r"#/components/schemas/ListPage_(\w+)_")
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "pattern": "matches `{}`",
}


def who_may_ask(operation: dict[str, Any]) -> str:
    """As the description ends; a route that asks for no key is anyone's."""
    description = str(operation.get("description", ""))
    if "security" not in operation:
        return "anyone, without a key"
    if description.endswith("Operator only."):
        return "operator"
    return "groups" if description.endswith("Group keys only.") else "operator and groups"


def type_of(schema: dict[str, Any]) -> str:
    """In words, with links to the page of objects."""
    if "$ref" in schema:
        return _reference(str(schema["$ref"]))
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(type_of(each) for each in schema[union]))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {type_of(schema['additionalProperties'])}"
    return str(schema.get("format") or schema.get("type") or "anything")


def fields_table(schema: dict[str, Any]) -> str:
    """A row for each field of an object; nothing for what has none."""
    required = schema.get("required", [])
    rows = [
        (name, type_of(field), _default(name, field, required), _meaning(field))
        for name, field in schema.get("properties", {}).items()
    ]
    return _table(("field", "type", "default", "meaning"), rows) if rows else ""


def parameters_table(parameters: list[dict[str, Any]]) -> str:
    rows = [
        (
            each["name"],
            each["in"],
            type_of(each["schema"]),
            _default(each["name"], each["schema"], [each["name"]] if each.get("required") else []),
            _meaning({**each["schema"], "description": each.get("description", "")}),
        )
        for each in parameters
    ]
    return _table(("parameter", "in", "type", "default", "meaning"), rows) if rows else ""


def cell(text: str) -> str:
    """Text that stays within its cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _reference(path: str) -> str:
    listed = _LIST_REFERENCE.fullmatch(path)
    name = listed[1] if listed else path.rpartition("/")[2]
    link = f"[{name}](objects.md#{name.lower()})"
    return f"page of {link}" if listed else link


def _default(name: str, field: dict[str, Any], required: list[str]) -> str:
    if name in required:
        return "required"
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`" if "default" in field else "–"


def _meaning(field: dict[str, Any]) -> str:
    parts = [cell(str(field.get("description", "")))]
    bounds = _bounds(field)
    if bounds:
        parts.append(f"{bounds[0].upper()}{bounds[1:]}.")
    return " ".join(part for part in parts if part)


def _bounds(field: dict[str, Any]) -> str:
    """Of the field itself, or of the one type that it has beside null."""
    kinds = [each for each in field.get("anyOf", []) if each.get("type") != "null"]
    bounded = {**kinds[0], **field} if len(kinds) == 1 else field
    found = ((words, bounded[key]) for key, words in _BOUNDS.items() if key in bounded)
    return ", ".join(words.format(cell(_plain(value))) for words, value in found)


def _plain(value: Any) -> str:
    """JSON Schema's bounds are floats, also of integers."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *((f"`{row[0]}`", *row[1:]) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
