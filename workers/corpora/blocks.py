"""A document's blocks: headings, code between fences, lists, and what lies between blank lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

_HEADING = re.compile(r"(#{1,6})[ \t]+")
_UNDERLINE = re.compile(r"(?:=+|-{3,})$")
_FENCE = re.compile(r"(`{3,}|~{3,})")
_ITEM = re.compile(r"(?:[-*+•]|\d{1,3}[.)、])[ \t]*\S")

Kind = Literal["heading", "text", "code", "list"]


@dataclass(frozen=True)
class Span:
    """A slice of the document that begins and ends with a character that is no white space."""

    start: int
    stop: int
    kind: Kind = "text"
    level: int = 0
    """Of a heading, from 1."""
    title: str = ""

    @property
    def length(self) -> int:
        return self.stop - self.start

    def up_to(self, last: "Span") -> "Span":
        return replace(self, stop=last.stop)


def blocks(text: str) -> list[Span]:
    """In their order. Every character that is no white space is in exactly one.

    A list whose items are parted by blank lines is one block.
    """
    reader = _Reader(text)
    for line in _lines(text):
        reader.read(line)
    reader.close("code" if reader.fence else None)
    return reader.found


def _lines(text: str) -> Iterator[Span]:
    """Without the white space around them; a blank line has no length."""
    start = 0
    for line in text.split("\n"):
        words = line.strip()
        begin = start + len(line) - len(line.lstrip()) if words else start
        yield Span(begin, begin + len(words))
        start += len(line) + 1


class _Reader:
    """Takes line after line. `fence` is that of the code that the line before is in, or nothing."""

    def __init__(self, text: str):
        self.text = text
        self.found: list[Span] = []
        self.fence = ""
        self._held: list[Span] = []

    def read(self, line: Span) -> None:
        words = self._words(line)
        if self.fence:
            self._read_code(line, words)
        elif not words:
            self.close()
        elif mark := _FENCE.match(words):
            self.close()
            self.fence = mark[1]
            self._held.append(line)
        elif heading := _HEADING.match(words):
            self.close()
            title = words[heading.end() :].rstrip(" \t#")
            self._add_heading(line, len(heading[1]), title)
        elif self._underlines(words):
            (above,) = self._held
            self._held.clear()
            self._add_heading(above.up_to(line), "=-".index(words[0]) + 1, self._words(above))
        else:
            self._held.append(line)

    def close(self, kind: Kind | None = None) -> None:
        """What is held is a block."""
        if not self._held:
            return
        if kind is None:
            items = any(_ITEM.match(self._words(line)) for line in self._held)
            kind = "list" if items else "text"
        block = replace(self._held[0].up_to(self._held[-1]), kind=kind)
        self._held.clear()
        if self.found and self.found[-1].kind == kind == "list":
            self.found[-1] = self.found[-1].up_to(block)
        else:
            self.found.append(block)

    def _read_code(self, line: Span, words: str) -> None:
        if words:
            self._held.append(line)
        if words.startswith(self.fence) and not words.strip(self.fence[0]):
            self.close("code")
            self.fence = ""

    def _underlines(self, words: str) -> bool:
        """Whether the line makes a heading of the one before."""
        if len(self._held) != 1 or not _UNDERLINE.match(words):
            return False
        return not _ITEM.match(self._words(self._held[0]))

    def _add_heading(self, line: Span, level: int, title: str) -> None:
        self.found.append(replace(line, kind="heading", level=level, title=title))

    def _words(self, line: Span) -> str:
        return self.text[line.start : line.stop]
