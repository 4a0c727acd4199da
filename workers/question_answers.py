"""Questions with their answers, read from JSON lines; what else the lines hold is left aside."""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.datasets import (
    BadLineError,
    LineFaults,
    QuestionAnswerLine,
    as_line,
    bounded_lines,
    json_objects,
)
from api_schemas.errors import InvalidInput

_FIELDS = frozenset(QuestionAnswerLine.model_fields)


@dataclass(frozen=True)
class QuestionAnswer:
    """`line` is its number in the file, 1 for the first."""

    line: int
    question: str
    answer: str


def read_question_answers(data: bytes) -> list[QuestionAnswer]:
    """Raises InvalidInput (`file`) that names the bad lines, or says that there is none."""
    faults, found = LineFaults(), []
    for number, fields in json_objects(bounded_lines(io.BytesIO(data)), faults):
        wanted = {name: value for name, value in fields.items() if name in _FIELDS}
        try:
            line = as_line(wanted, QuestionAnswerLine)
        except BadLineError as fault:
            faults.add(number, fault)
            continue
        found.append(QuestionAnswer(number, line.question, line.answer))
    faults.refuse_if_any()
    if not found:
        raise InvalidInput("the file holds no line", param="file")
    return found


def hold_out(
    lines: Sequence[QuestionAnswer], share: float, seed: int
) -> tuple[list[QuestionAnswer], list[QuestionAnswer]]:
    """The lines to train on, and those held out: all of some questions, drawn by the seed.

    Whole questions, because another answer to one that was trained on is no new question. Raises
    InvalidInput (`file`) for fewer than two questions.
    """
    questions = sorted({each.question for each in lines})
    if len(questions) < 2:
        raise InvalidInput(
            f"all {len(lines)} lines have the same question: none can be held out", param="file"
        )
    count = min(max(1, round(share * len(questions))), len(questions) - 1)
    chosen = set(random.Random(seed).sample(questions, count))
    return (
        [each for each in lines if each.question not in chosen],
        [each for each in lines if each.question in chosen],
    )
