"""The lines of uploaded JSONL files, and a parser that names the line and what is wrong there."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from api_schemas.base import Schema
from api_schemas.errors import InvalidInput
from api_schemas.strict_json import NotJsonError, parse_json

MAX_TEXT = 32_768
"""Characters in a prompt or a response at most."""

MAX_LINES = 1_000_000
"""Lines in a file at most, blank ones too: checking so many takes about ten seconds."""

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


class LineProblem(Schema):
    line: int = Field(description="1 for the first; of a Parquet file, the row.")
    problem: str


class DataValidation(Schema):
    """What a file of preferences holds, and what of it can't be used."""

    lines: int = Field(description="Records; blank lines are none.")
    pairs: int = Field(description="Distinct comparisons that can be used.")
    prompts: int = Field(description="Distinct prompts of these.")
    same_texts: int = Field(0, description="Left out: both responses are the same text.")
    tied_votes: int = Field(
        0, description="As many votes for either response; used for soft labels only."
    )
    duplicates: int = Field(0, description="Left out: the same prompt and pair as an earlier line.")
    contradictions: int = Field(
        0, description="Pairs that some lines prefer one way and some the other; all are used."
    )
    empty_replies: int = Field(0, description="Left out: a response without any character.")
    not_a_pair: int = Field(
        0, description="Left out: two dialogues that don't share all but the last reply."
    )
    prompts_in_both_splits: int = Field(
        0, description="Prompts marked both train and test; their test lines are not used."
    )
    problems: list[LineProblem] = Field([], description="The first hundred, by line.")


Line = TypeVar("Line", PromptLine, PreferenceLine)


def parse_jsonl(lines: Iterable[bytes], model: type[Line]) -> list[Line]:
    """Every record of `read_jsonl`."""
    return list(read_jsonl(lines, model))


def read_jsonl(lines: Iterable[bytes], model: type[Line]) -> Iterator[Line]:
    """Every line as a `model`; lines of white space only are passed over, but counted.

    When all is read, raises InvalidInput with param "file" that names the first bad lines (five at
    most) and what is wrong with each, such as "line 3: chosen: field required", or that says the
    file holds no line, or more than MAX_LINES.
    """
    problems: list[str] = []
    first_weighted: dict[bool, int] = {}
    for number, raw in enumerate(lines, start=1):
        if number > MAX_LINES:
            problems.append(f"line {number}: a file may have {MAX_LINES} lines")
            break
        if len(problems) == _PROBLEMS_SHOWN:
            problems.append("later lines were not read")
            break
        if not raw.strip():
            continue
        try:
            record = _parse_line(raw, number, model)
        except _BadLineError as problem:
            problems.append(f"line {number}: {problem}")
            continue
        first_weighted.setdefault(getattr(record, "weight", None) is not None, number)
        yield record
    if not problems:
        problems = _whole_file_problems(first_weighted)
    if problems:
        raise InvalidInput("; ".join(problems), param="file")


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


def _whole_file_problems(first_weighted: dict[bool, int]) -> list[str]:
    """`first_weighted`: the first lines with and without a weight, of those there are."""
    if not first_weighted:
        return ["the file holds no line"]
    if len(first_weighted) == 1:
        return []
    # A missing weight beside given ones has no meaning that all would guess.
    given, missing = first_weighted[True], first_weighted[False]
    return [f"line {missing}: weight is missing, but line {given} has one: give all or none"]
