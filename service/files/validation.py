"""What an uploaded file must hold, by its purpose."""

from dataclasses import dataclass
from typing import Any, BinaryIO

from api_schemas.datasets import (
    DataValidation,
    PromptLine,
    QuestionAnswerLine,
    QuestionLine,
    bounded_lines,
    read_jsonl,
)
from api_schemas.files import FilePurpose
from service.files.adapter_header import check_adapter
from workers.corpora.documents import check_document
from workers.preferences.formats import validate_preferences


@dataclass(frozen=True)
class Content:
    """What was found in a file: its records, and of preferences what is dirt."""

    lines: int | None = None
    validation: DataValidation | None = None


_LINES: dict[FilePurpose, type[Any]] = {
    "prompts": PromptLine,
    "questions": QuestionLine,
    "question_answers": QuestionAnswerLine,
}


def check_content(purpose: FilePurpose, file: BinaryIO, size: int, filename: str) -> Content:
    """Read `file` from its start, by the reader that will read it later.

    Raises InvalidInput (`file`) naming the line, the tensor or the document, and what is wrong.
    """
    file.seek(0)
    if purpose in _LINES:
        return Content(lines=sum(1 for _ in read_jsonl(bounded_lines(file), _LINES[purpose])))
    if purpose == "document":
        check_document(file, filename)
        return Content()
    if purpose == "preferences":
        validation = validate_preferences(file)
        return Content(validation.lines, validation)
    check_adapter(file, size)
    return Content()
