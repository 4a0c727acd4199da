"""The lines of uploaded files, and a parser of JSON lines that names the bad line and its fault."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, BinaryIO, Literal, NoReturn, Self, TypeVar

from pydantic import ConfigDict, Field, ValidationError, model_validator

from api_schemas.base import Schema
from api_schemas.errors import InvalidInput
from api_schemas.strict_json import NotJsonError, parse_json

MAX_TEXT = 32_768
"""Characters in a prompt or a response at most."""

MAX_LINES = 1_000_000
"""Lines in a file at most, blank ones too: checking so many takes half a minute."""

MAX_LINE_BYTES = 4 * 12 * MAX_TEXT
"""Four texts whose every character is written as two \\uXXXX escapes: more than any valid line."""

MAX_VOTES = 1e9
MAX_MARGIN = 1e6

_FAULTS_SHOWN = 5
_FRACTIONS_SUM_WITHIN = 0.02
"""Rounded to two digits, three fractions can miss 1 by so much."""

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Votes = Annotated[float, Field(ge=0, le=MAX_VOTES)]
SplitName = Literal["train", "test"]


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
    chosen: Text
    rejected: Text
    margin: float | None = Field(
        None, ge=0, le=MAX_MARGIN, description="By how much `chosen` ought to lead, in scores."
    )
    split: SplitName | None = Field(None, description="Whether its prompt is held out.")


class VotesLine(Schema):
    """How many people preferred which of two responses: counts, or fractions that sum to 1."""

    prompt: str = Field(min_length=1, max_length=MAX_TEXT)
    responses: list[Text] = Field(min_length=2, max_length=2)
    votes: list[Votes] = Field(min_length=2, max_length=2)
    tied_votes: Votes | None = Field(None, description="For neither; half a vote for each.")
    split: SplitName | None = None

    @property
    def total(self) -> float:
        return sum(self.votes) + (self.tied_votes or 0.0)

    @model_validator(mode="after")
    def _votes_must_be_of_one_kind(self) -> Self:
        """Else nobody could say how much a line weighs: 0.6 and 0.2, of how many?"""
        if self.total == 0:
            raise ValueError("votes: there is no vote at all")
        given = [*self.votes, self.tied_votes or 0.0]
        if any(vote % 1 for vote in given) and abs(self.total - 1) > _FRACTIONS_SUM_WITHIN:
            raise ValueError(
                f"votes: {' + '.join(f'{vote:g}' for vote in given)} are neither whole numbers nor "
                "fractions that sum to 1"
            )
        return self


class DialogueLine(Schema):
    """Two dialogues that differ in the last reply only.

    A turn begins with a blank line and `Human:` or `Assistant:`.
    """

    chosen: Text
    rejected: Text
    margin: float | None = Field(None, ge=0, le=MAX_MARGIN)
    split: SplitName | None = None


class QuestionLine(Schema):
    """A question whose style others are to follow."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question": "Why do tomatoes crack after rain?"}]}
    )

    question: str = Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")


class QuestionAnswerLine(Schema):
    """A question with the answer that a person, or a teacher, gave."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "question": "Why do tomatoes crack after rain?",
                    "answer": "Their flesh takes up water faster than the skin can grow.",
                }
            ]
        }
    )

    question: str = Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")
    answer: str = Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")


class LineProblem(Schema):
    line: int = Field(description="1 for the first; of a Parquet file, the row.")
    problem: str


class DataValidation(Schema):
    """What a file of preferences holds, and what of it can't be used."""

    lines: int = Field(description="Records; blank lines are none.")
    pairs: int = Field(description="Distinct comparisons that can be used.")
    prompts: int = Field(description="Distinct prompts of these.")
    same_texts: int = Field(0, description="Lines left out: both responses are the same text.")
    tied_votes: int = Field(
        0,
        description="Of the pairs, those with as many votes for either response; used for soft "
        "labels only.",
    )
    duplicates: int = Field(
        0, description="Lines left out: they say exactly what an earlier line says."
    )
    contradictions: int = Field(
        0, description="Pairs that some lines prefer one way and some the other; all are used."
    )
    empty_replies: int = Field(
        0, description="Lines left out: a response without any character but white space."
    )
    not_a_pair: int = Field(
        0, description="Lines left out: two dialogues that don't share all but the last reply."
    )
    prompts_in_both_splits: int = Field(
        0, description="Prompts marked both train and test; their test lines are left out."
    )
    problems: list[LineProblem] = Field(
        [], description="The first twenty of each kind above, by line."
    )


Line = TypeVar(
    "Line",
    PromptLine,
    PreferenceLine,
    VotesLine,
    DialogueLine,
    QuestionLine,
    QuestionAnswerLine,
)


class BadLineError(ValueError):
    """What is wrong with one line."""


class LineFaults:
    """The bad lines of a file, five at most; the file is refused with all of them at once."""

    def __init__(self, unit: Literal["line", "row"] = "line") -> None:
        self.unit = unit
        self._found: list[str] = []

    def enter(self, number: int) -> None:
        """Before a line is read: refuses the file if it has too many, or too many bad ones."""
        if number > MAX_LINES:
            self.add(number, f"a file may have {MAX_LINES} {self.unit}s")
            self._refuse()
        if len(self._found) == _FAULTS_SHOWN:
            self._found.append(f"later {self.unit}s were not read")
            self._refuse()

    def add(self, number: int, reason: str | BadLineError) -> None:
        self._found.append(f"{self.unit} {number}: {reason}")

    def refuse_if_any(self) -> None:
        """Raises InvalidInput (`file`)."""
        if self._found:
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise InvalidInput("; ".join(self._found), param="file")


def bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of bounded length, so that a file without line breaks does not fill the memory."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise InvalidInput(f"line {number}: longer than {MAX_LINE_BYTES} bytes", param="file")
        yield line


def parse_jsonl(lines: Iterable[bytes], model: type[Line]) -> list[Line]:
    """Every record of `read_jsonl`."""
    return list(read_jsonl(lines, model))


def read_jsonl(lines: Iterable[bytes], model: type[Line]) -> Iterator[Line]:
    """Every line as a `model`; lines of white space only are passed over, but counted.

    When all is read, raises InvalidInput with param "file" that names the first bad lines (five at
    most) and what is wrong with each, such as "line 3: chosen: field required", or that says the
    file holds no line, or more than MAX_LINES.
    """
    faults = LineFaults()
    first_weighted: dict[bool, int] = {}
    for number, fields in json_objects(lines, faults):
        try:
            record = as_line(fields, model)
        except BadLineError as fault:
            faults.add(number, fault)
            continue
        first_weighted.setdefault(getattr(record, "weight", None) is not None, number)
        yield record
    faults.refuse_if_any()
    _refuse_mixed_weights(first_weighted)


def json_objects(
    lines: Iterable[bytes], faults: LineFaults
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the fields of every line that is not blank; what can't be read is a fault."""
    for number, raw in enumerate(lines, start=1):
        faults.enter(number)
        if not raw.strip():
            continue
        try:
            yield number, _json_object(raw, number)
        except BadLineError as fault:
            faults.add(number, fault)


def decoded(raw: bytes, number: int) -> str:
    """The text of a line. Raises BadLineError unless it is UTF-8."""
    try:
        # Editors on Windows put a byte order mark in front of the first line.
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise BadLineError(f"not UTF-8 at byte {error.start + 1} of the line") from None


def _json_object(raw: bytes, number: int) -> dict[str, Any]:
    try:
        value = parse_json(decoded(raw, number))
    except NotJsonError as error:
        raise BadLineError(str(error)) from None
    if not isinstance(value, dict):
        raise BadLineError(f"a JSON object is expected, not {type(value).__name__}")
    return value


def as_line(fields: dict[str, Any], model: type[Line]) -> Line:
    """Raises BadLineError naming the field and what is wrong with it."""
    try:
        return model.model_validate(fields, strict=True)
    except ValidationError as error:
        raise BadLineError("; ".join(_reason(detail) for detail in error.errors())) from None


def _reason(detail: Any) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    message = f"{message[:1].lower()}{message[1:]}"
    # A rule about several fields has no place; its message names them.
    return ": ".join(filter(None, [".".join(str(part) for part in detail["loc"]), message]))


def _refuse_mixed_weights(first_weighted: dict[bool, int]) -> None:
    """`first_weighted`: the first lines with and without a weight, of those there are."""
    if not first_weighted:
        raise InvalidInput("the file holds no line", param="file")
    if len(first_weighted) == 2:
        # A missing weight beside given ones has no meaning that all would guess.
        given, missing = first_weighted[True], first_weighted[False]
        raise InvalidInput(
            f"line {missing}: weight is missing, but line {given} has one: give all or none",
            param="file",
        )
