"""The lines of uploaded JSONL files, and a parser that names the line and what is wrong there."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from api_schemas.base import Schema
from api_schemas.errors import InvalidInput
from api_schemas.strict_json import NotJsonError, parse_json

MAX_TEXT = 32_768
"""Characters in a prompt or a response at most."""

_PROBLEMS_SHOWN = 5


class PromptLine(Schema):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "How do I reset my password?", "weight": 2.0}]}
    )

    prompt: str = Field(min_length=1, max_length=MAX_TEXT)
    weight: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="Relative weight of the prompt in welfare; on all lines or on none.",
    )


class PreferenceLine(Schema):
    """A human judgement: of two responses to the prompt, `chosen` is the better."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "How do I reset my password?",
                    "chosen": "Open Settings and choose Reset, please.",
                    "rejected": "Read the manual.",
                }
            ]
        }
    )

    prompt: str = Field(min_length=1, max_length=MAX_TEXT)
    chosen: str = Field(min_length=1, max_length=MAX_TEXT)
    rejected: str = Field(min_length=1, max_length=MAX_TEXT)


Line = TypeVar("Line", PromptLine, PreferenceLine)


def parse_jsonl(lines: Iterable[bytes], model: type[Line]) -> list[Line]:
    """Every line as a `model`; lines of white space only are passed over, but counted.

    Raises InvalidInput with param "file" that names the first bad lines (five at most) and what is
    wrong with each, such as "line 3: chosen: field required", or that says the file holds no line.
    """
    parsed: list[Line] = []
    numbers: list[int] = []
    problems: list[str] = []
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            parsed.append(_parse_line(raw, number, model))
            numbers.append(number)
        except _BadLineError as problem:
            problems.append(f"line {number}: {problem}")
        if len(problems) == _PROBLEMS_SHOWN:
            problems.append("later lines were not read")
            break
    if not problems and not parsed:
        problems.append("the file holds no line")
    if not problems:
        problems = _weight_problems(parsed, numbers)
    if problems:
        raise InvalidInput("; ".join(problems), param="file")
    return parsed


class _BadLineError(ValueError):
    """What is wrong with one line."""


def _parse_line(raw: bytes, number: int, model: type[Line]) -> Line:
    try:
        # Editors on Windows put a byte order mark in front of the first line.
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise _BadLineError(f"not UTF-8 at byte {error.start + 1} of the line") from None
    try:
        value = parse_json(text)
    except NotJsonError as error:
        raise _BadLineError(str(error)) from None
    if not isinstance(value, dict):
        raise _BadLineError(f"a JSON object is expected, not {type(value).__name__}")
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        raise _BadLineError("; ".join(_reason(detail) for detail in error.errors())) from None


def _reason(detail: Any) -> str:
    field = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"]
    return f"{field}: {message[:1].lower()}{message[1:]}"


def _weight_problems(lines: Sequence[Schema], numbers: Sequence[int]) -> list[str]:
    """A missing weight beside given ones has no meaning that all would guess."""
    weighted = [getattr(line, "weight", None) is not None for line in lines]
    if all(weighted) or not any(weighted):
        return []
    given, missing = numbers[weighted.index(True)], numbers[weighted.index(False)]
    return [f"line {missing}: weight is missing, but line {given} has one: give all or none"]
