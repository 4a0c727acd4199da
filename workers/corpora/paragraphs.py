"""Documents cut into paragraphs: at blank lines and headings, never within a word.

A paragraph is a slice of its document without the white space around it, so every character that is
no white space is in exactly one. A heading is the beginning of the first paragraph of its section,
and context of all of them.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from api_schemas.corpora import Paragraphing
from workers.corpora.blocks import Kind, Span, blocks

_LINES = re.compile(r"\n\s*")
_SENTENCES = re.compile(r"""[.!?…]+["'”’»)\]]*\s+|[。！？]+[”’」』）]*\s*""")
_CLAUSES = re.compile(r"[,;:]\s+|[，、；：]\s*")
_WORDS = re.compile(r"\s+")
_IDEOGRAPHS = re.compile(r"(?<=[\u3400-\u9fff])(?=[\u3400-\u9fff])")
"""Nothing parts words there: Chinese is cut so only where it has no punctuation either."""

_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|cf|vs|etc|Dr|Mr|Mrs|Ms|Prof|St|No|Fig|Eq|\w)\.\s+$")
_LONGEST_ABBREVIATION = 8

_PLACES: dict[Kind, tuple[re.Pattern[str], ...]] = {
    "heading": (_WORDS, _IDEOGRAPHS),
    "text": (_SENTENCES, _CLAUSES, _WORDS, _IDEOGRAPHS),
    "list": (_LINES, _SENTENCES, _CLAUSES, _WORDS, _IDEOGRAPHS),
    "code": (_LINES, _WORDS, _IDEOGRAPHS),
}
"""Where a block that is too long is cut: each only where those before it are not enough."""


@dataclass(frozen=True)
class Paragraph:
    """`heading` is that of its section below those above it, such as "Water › Rain"."""

    heading: str
    text: str


def cut(text: str, lengths: Paragraphing) -> list[Paragraph]:
    """The paragraphs of a document in their order.

    One that is shorter than `min_characters` joins the next of its section, or else the one before,
    unless both are longer than `max_characters` together. A longer one is cut between sentences,
    code and lists between lines; else between clauses, else between words. A word that is longer
    stays whole.
    """
    found = []
    for heading, section in _sections(blocks(text)):
        pieces = [
            piece
            for block in section
            for piece in _cut_at(text, block, _PLACES[block.kind], lengths.max_characters)
        ]
        for piece in _joined(pieces, lengths):
            found.append(Paragraph(heading, text[piece.start : piece.stop]))
    return found


def _sections(found: Sequence[Span]) -> Iterator[tuple[str, list[Span]]]:
    """Each section's headings, and its blocks; its headings are the beginning of the first.

    Headings at the end, which nothing follows, are a section of their own.
    """
    path: list[Span] = []
    headings: list[Span] = []
    section: list[Span] = []
    for block in found:
        if block.kind == "heading":
            if section:
                yield _shown(path), section
                section = []
            path = [*(each for each in path if each.level < block.level), block]
            headings.append(block)
        else:
            first = headings[0] if headings else block
            section.append(replace(block, start=first.start))
            headings = []
    if headings:
        section = [headings[0].up_to(headings[-1])]
    if section:
        yield _shown(path), section


def _shown(path: Sequence[Span]) -> str:
    return " › ".join(heading.title for heading in path if heading.title)


def _cut_at(text: str, span: Span, places: Sequence[re.Pattern[str]], most: int) -> Iterator[Span]:
    """Pieces of at most `most` characters and about equal length, if the places allow it."""
    if span.length <= most or not places:
        yield span
        return
    for piece in _packed(_parts(text, span, places[0]), span.length, most):
        yield from _cut_at(text, piece, places[1:], most)


def _parts(text: str, span: Span, place: re.Pattern[str]) -> Iterator[Span]:
    start = span.start
    for found in place.finditer(text, span.start, span.stop):
        if found.end() < span.stop and not _goes_on(text, found, place):
            yield _trimmed(text, replace(span, start=start, stop=found.end()))
            start = found.end()
    yield replace(span, start=start)


def _goes_on(text: str, found: re.Match[str], place: re.Pattern[str]) -> bool:
    """Whether a full stop is an abbreviation's, or a small letter follows it."""
    if place is not _SENTENCES or text[found.start()] not in ".…":
        return False
    before = text[max(0, found.start() - _LONGEST_ABBREVIATION) : found.end()]
    return text[found.end()].islower() or _ABBREVIATION.search(before) is not None


def _trimmed(text: str, span: Span) -> Span:
    words = text[span.start : span.stop]
    return replace(span, stop=span.start + len(words.rstrip()))


def _packed(parts: Iterator[Span], length: int, most: int) -> Iterator[Span]:
    """Neighbours put together: as few pieces as it takes, none of them much shorter than others."""
    enough = length / math.ceil(length / most)
    held = next(parts)
    for part in parts:
        if held.length >= enough or part.stop - held.start > most:
            yield held
            held = part
        else:
            held = held.up_to(part)
    yield held


def _joined(pieces: Sequence[Span], lengths: Paragraphing) -> list[Span]:
    """Short ones with the next; what is short still, with the one before."""
    forward = list(pieces[:1])
    for piece in pieces[1:]:
        _join_or_append(forward, piece, lengths, forward[-1].length < lengths.min_characters)
    found = forward[:1]
    for piece in forward[1:]:
        _join_or_append(found, piece, lengths, piece.length < lengths.min_characters)
    return found


def _join_or_append(found: list[Span], piece: Span, lengths: Paragraphing, wanted: bool) -> None:
    joined = found[-1].up_to(piece)
    if wanted and joined.length <= lengths.max_characters:
        found[-1] = joined
    else:
        found.append(piece)
