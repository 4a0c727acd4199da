"""What an uploaded file must hold, by its purpose."""

from dataclasses import dataclass
from typing import BinaryIO

from api_schemas.datasets import DataValidation, PromptLine, bounded_lines, read_jsonl
from api_schemas.files import FilePurpose
from service.files.adapter_header import check_adapter
from workers.preferences.formats import validate_preferences


@dataclass(frozen=True)
class Content:
    """What was found in a file: records of prompts or preferences, and what of these is dirt."""

    lines: int | None = None
    validation: DataValidation | None = None


def check_content(purpose: FilePurpose, file: BinaryIO, size: int) -> Content:
    """Read `file` from its start, by the reader that will read it later.

    Raises InvalidInput (`file`) naming the line, or the tensor, and what is wrong with it.
    """
    file.seek(0)
    if purpose == "prompts":
        return Content(lines=sum(1 for _ in read_jsonl(bounded_lines(file), PromptLine)))
    if purpose == "preferences":
        validation = validate_preferences(file)
        return Content(validation.lines, validation)
    check_adapter(file, size)
    return Content()
