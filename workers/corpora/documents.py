"""The text of an uploaded document: plain text, Markdown, or a PDF that holds text.

A PDF is read by a process of its own with bounded memory and time: its pages may decompress to
any size, and may be made to keep a reader busy.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

from api_schemas.errors import InvalidInput
from workers.texts import in_utf8

MAX_CHARACTERS = 50_000_000
"""Of a document: fifty times a long book."""
_BYTES_PER_CHARACTER = 4
"""Of UTF-8, at most."""
MAX_PAGES = 5000
_MAX_MEMORY = 2**30
_MAX_SECONDS = {"check": 20, "read": 900}
"""Of computing: an upload's check keeps its request waiting."""
_PROGRAM = Path(__file__).with_name("pdf_process.py")
_SAID_WHY = 3
_PDF_MARK_WITHIN = 1024
"""Readers look for `%PDF-` so far into a file."""

_HYPHENATED = re.compile(r"(?<=[^\W\d_])-[ \t]*\n[ \t]*(?=[^\W\d_])")
_NEW_LINES = re.compile(r"\r\n?")


@dataclass(frozen=True)
class Document:
    """`scanned_pages` are those of a PDF, from 1, that show pictures and hold no text."""

    text: str
    scanned_pages: tuple[int, ...] = ()


def check_document(file: BinaryIO, filename: str) -> None:
    """Whether an upload can be read: a text wholly, a PDF up to its first page with text.

    Raises InvalidInput (`file`) that names the document and what is wrong with it.
    """
    if _is_pdf(file, filename):
        _require_text(_pdf_pages(file, filename, "check"), filename)
    else:
        _text(_bytes(file, filename), filename)


def read_document(file: BinaryIO, filename: str) -> Document:
    """Raises InvalidInput (`file`) that names the document, the page and what to do."""
    if not _is_pdf(file, filename):
        return Document(_text(_bytes(file, filename), filename))
    pages = _pdf_pages(file, filename, "read")
    _require_text(pages, filename)
    scanned = tuple(number for number, page in enumerate(pages, start=1) if page["only_pictures"])
    if 2 * len(scanned) > len(pages):
        _refuse(
            filename,
            f"page {scanned[0]}, and {len(scanned)} of its {len(pages)} pages, are pictures "
            "without text: run OCR (optical character recognition) on it first",
        )
    return Document(_checked(_joined_pages(pages, filename), filename), scanned)


def joined_lines(text: str) -> str:
    """A page's text without the hyphens at the ends of its lines.

    A hyphen goes where a line ends within a word, so where both sides are letters and the next line
    goes on in lower case; "North-" before "South" keeps its own.

    >>> joined_lines("a long para-\\ngraph of North-\\nSouth trade")
    'a long paragraph of North-\\nSouth trade'
    """

    def join(found: re.Match[str]) -> str:
        return "" if text[found.end()].islower() else found.group()

    return _HYPHENATED.sub(join, text)


def _joined_pages(pages: list[dict[str, Any]], filename: str) -> str:
    """A page begins a paragraph, unless it goes on within a sentence: with a small letter."""
    text = ""
    for number, page in enumerate(pages, start=1):
        if "\0" in page["text"]:
            why = "holds letters that its font doesn't name: run OCR on it first"
            _refuse(filename, f"page {number} {why}")
        (here,) = in_utf8([page["text"].strip()])
        text += ("\n" if here[:1].islower() else "\n\n") + here
    return joined_lines(text)


def _is_pdf(file: BinaryIO, filename: str) -> bool:
    file.seek(0)
    start = file.read(_PDF_MARK_WITHIN)
    file.seek(0)
    if b"%PDF-" in start:
        return True
    if filename.lower().endswith(".pdf"):
        _refuse(filename, f"it is no PDF: it begins with {start[:8]!r}")
    return False


def _bytes(file: BinaryIO, filename: str) -> bytes:
    """Refused by its size before it is decoded, or wholly in memory."""
    most = _BYTES_PER_CHARACTER * MAX_CHARACTERS
    data = file.read(most + 1)
    if len(data) > most:
        why = f"it has more than {most} bytes, so than {MAX_CHARACTERS} characters: divide it"
        _refuse(filename, why)
    return data


def _text(data: bytes, filename: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse(
            filename,
            f"line {line} is not UTF-8 (byte {error.start + 1} of the file). Text, Markdown and "
            "PDF are read; save it as one of these",
        )
    return _checked(text, filename)


def _checked(text: str, filename: str) -> str:
    """With line feeds as its only ends of lines."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        _refuse(filename, f"line {line} holds a NUL character, which no text has")
    if len(text) > MAX_CHARACTERS:
        _refuse(
            filename, f"it has {len(text)} characters, the limit is {MAX_CHARACTERS}: divide it"
        )
    if not text.strip():
        _refuse(filename, "it is empty")
    return _NEW_LINES.sub("\n", text)


def _require_text(pages: list[dict[str, Any]], filename: str) -> None:
    if any(page["text"].strip() for page in pages):
        return
    last = f"pages 1 to {len(pages)} hold" if len(pages) > 1 else "page 1 holds"
    if any(page["only_pictures"] for page in pages):
        why = f"{last} pictures, but no text: it is a scan. Run OCR on it first"
    else:
        why = f"{last} no text"
    _refuse(filename, why)


def _pdf_pages(
    file: BinaryIO, filename: str, mode: Literal["check", "read"]
) -> list[dict[str, Any]]:
    seconds = _MAX_SECONDS[mode]
    limits = [MAX_PAGES, MAX_CHARACTERS, _MAX_MEMORY, seconds]
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        try:
            done = subprocess.run(
                [sys.executable, "-I", str(_PROGRAM), mode, *map(str, limits)],
                stdin=copy,
                # The service's secrets are in its own: a reader that a PDF deceives finds none.
                env={},
                capture_output=True,
                # It may also wait, which takes no computing.
                timeout=4 * seconds,
            )
        except subprocess.TimeoutExpired:
            _refuse(filename, f"reading it took longer than {4 * seconds} s: divide it")
    pages = [json.loads(line) for line in done.stdout.splitlines() if line.endswith(b"}")]
    if done.returncode == _SAID_WHY:
        _refuse(filename, done.stderr.decode(errors="replace").strip())
    if done.returncode:
        _refuse(
            filename,
            f"page {len(pages) + 1} takes more than {_MAX_MEMORY} bytes of memory or {seconds} s, "
            f"or is damaged (the reader ended with {done.returncode})",
        )
    return pages


def _refuse(filename: str, why: str) -> NoReturn:
    raise InvalidInput(f"document {filename!r} can't be read: {why}", param="file")
