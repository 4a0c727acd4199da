"""The program that reads a PDF's text for `documents.py`; it imports nothing of ours.

Standard input is the file. Arguments: `check` or `read`, the most pages, the most characters of all
pages, bytes of memory, seconds of computing. It writes a line of JSON a page: its text, and whether
it shows pictures only. `check` ends at the first page with text. What is wrong goes to standard
error, with exit status 3.
"""

import json
import logging
import re
import resource
import sys
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pypdf
import pypdf.errors

_PAGES_CHECKED = 20
"""A book may begin with so many pages of pictures; more of them are a scan."""

_INLINE_IMAGE = re.compile(rb"\bBI\b.*?\bID\b", re.DOTALL)


class _Said(logging.Handler):
    """pypdf only logs that it could not decompress a page, and goes on as if it were empty."""

    messages: ClassVar[list[str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def main(mode: str, max_pages: int, max_characters: int) -> None:
    reader = pypdf.PdfReader(sys.stdin.buffer, strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        _end("it is encrypted: save it without a password")
    pages = len(reader.pages)
    if pages > max_pages:
        _end(f"it has {pages} pages, the limit is {max_pages}: divide it")
    if not pages:
        _end("it has no page")
    characters = 0
    for number in range(1, pages + 1):
        text, only_pictures = _page(reader, number)
        characters += len(text)
        if characters > max_characters:
            _end(f"up to page {number} it holds more than {max_characters} characters: divide it")
        print(json.dumps({"text": text, "only_pictures": only_pictures}), flush=True)
        if mode == "check" and (text.strip() or number == _PAGES_CHECKED):
            return


def _page(reader: pypdf.PdfReader, number: int) -> tuple[str, bool]:
    """A damaged page may fail in any way; the error then names it."""
    try:
        page = reader.pages[number - 1]
        text = page.extract_text()
        if lost := [each for each in _Said.messages if "decompress" in each]:
            _end(f"page {number} is damaged: {lost[0][:200]}")
        return text, not text.strip() and _has_images(page)
    except (MemoryError, RecursionError):
        _end(f"page {number} takes too much memory, or is nested too deeply")
    except Exception as error:
        _end(f"page {number} is damaged: {type(error).__name__}: {str(error)[:200]}")


def _has_images(page: Any) -> bool:
    # Subscripts follow references to other objects, which `get` does not.
    resources = page["/Resources"] if "/Resources" in page else {}  # noqa: SIM401
    drawn = "/XObject" in resources and len(resources["/XObject"]) > 0
    return drawn or _INLINE_IMAGE.search(_content(page)) is not None


def _content(page: Any) -> bytes:
    content = page.get_contents()
    return b"" if content is None else content.get_data()


def _limit_resources(memory: int, seconds: int) -> None:
    """Memory beyond what is taken now; without /proc (macOS) only pypdf's own limits bound it."""
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        taken = int(statistics.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end(reason: str) -> NoReturn:
    sys.stdout.flush()
    print(reason, file=sys.stderr)
    sys.exit(3)


if __name__ == "__main__":
    logging.getLogger("pypdf").addHandler(_Said())
    logging.getLogger("pypdf").propagate = False
    _limit_resources(int(sys.argv[4]), int(sys.argv[5]))
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    except MemoryError:
        _end(f"reading it takes more than {sys.argv[4]} bytes of memory")
    except pypdf.errors.DependencyError as error:
        _end(f"it is encrypted in a way that can't be read here: {str(error)[:200]}")
    except Exception as error:  # pypdf's own errors are not all that a damaged file brings about
        _end(f"it is damaged: {type(error).__name__}: {str(error)[:200]}")
