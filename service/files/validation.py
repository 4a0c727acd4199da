"""What an uploaded file must hold, by its purpose."""

from collections.abc import Iterator
from typing import BinaryIO

from api_schemas.datasets import MAX_TEXT, PreferenceLine, PromptLine, read_jsonl
from api_schemas.errors import InvalidInput
from api_schemas.files import FilePurpose
from service.files.adapter_header import check_adapter

MAX_LINE_BYTES = 4 * 12 * MAX_TEXT
"""Four texts whose every character is written as two \\uXXXX escapes: more than any valid line."""


def check_content(purpose: FilePurpose, file: BinaryIO, size: int) -> int | None:
    """The records of a JSONL file, None for an adapter; `file` is read from its start.

    Raises InvalidInput (`file`) naming the line, or the tensor, and what is wrong with it.
    """
    file.seek(0)
    if purpose == "prompts":
        return sum(1 for _ in read_jsonl(_lines(file), PromptLine))
    if purpose == "preferences":
        return sum(1 for _ in read_jsonl(_lines(file), PreferenceLine))
    check_adapter(file, size)
    return None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of bounded length, so that a file without line breaks does not fill the memory."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise InvalidInput(f"line {number}: longer than {MAX_LINE_BYTES} bytes", param="file")
        yield line
