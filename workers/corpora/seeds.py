"""The questions that show in which styles learners ask."""

import io
from pathlib import Path

from api_schemas.datasets import QuestionLine, parse_jsonl

_SHIPPED = Path(__file__).with_name("questions.jsonl")


def shipped_seeds() -> list[str]:
    """50 questions of no subject: of meanings, reasons, comparisons, steps, amounts and errors."""
    return read_seeds(_SHIPPED.read_bytes())


def read_seeds(data: bytes) -> list[str]:
    """Raises InvalidInput (`file`) that names the lines which are no `QuestionLine`."""
    return [line.question for line in parse_jsonl(io.BytesIO(data), QuestionLine)]
