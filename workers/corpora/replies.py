"""What a reply holds of what was asked for: questions, an answer, a prompt, or nothing usable."""

import json
import re
from typing import Any

from api_schemas.corpora import MAX_PROMPT
from workers.corpora.near_duplicates import normalised
from workers.language_models.chat import Reply
from workers.language_models.degenerate import repeats_itself

_LONGEST_QUESTION = 600
"""Characters; what is longer is an essay, or a model that has lost its way."""

_NUMBER = re.compile(
    r"(?:(?:question|q|问题)\s*)?[(（]?\d{1,3}\s*[.):、：）]\s*|(?:question|q)\s*:\s*|[-*+•·–]\s+",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"(?<![A-Za-z0-9*])\*\*(?=[^\s*])([^*]+)(?<=\S)\*\*(?![A-Za-z0-9*])")
_OPENING = re.compile(r"^(?:\*\*|__|[`\"“'‘#\s])+")
_AROUND = " \t*_`\"“”'‘’"
_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_FENCE = re.compile(r"```\w*\n?")
_MARKS = re.compile(r"<prompt>", re.IGNORECASE), re.compile(r"</prompt>", re.IGNORECASE)
_LABEL = re.compile(r"(?:system |new |improved |revised )*prompt\s*:\s*", re.IGNORECASE)


def questions_in(reply: Reply, most: int) -> list[str]:
    """The first `most` questions: a JSON list's, or the items of a numbered or bulleted list, or
    where there are none, other lines that end with a question mark. The last line of a reply that
    was cut short counts only if it does.

    An item of a list may also be a task without a question mark ("Explain why …").
    """
    text = spoken(reply)
    if repeats_itself(text):
        return []
    listed = _json_list(text)
    if listed is None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines and not reply.complete and lines[-1].rstrip(_AROUND)[-1:] not in "?？":
            lines.pop()
        items = [line for line in lines if _NUMBER.match(_opened(line))]
        # "Would you like more of them?" behind a list is none of it.
        listed = _questions_of(items) or _questions_of(lines)
    return [each for each in listed if _is_question(each)][:most]


def answer_in(reply: Reply, question: str) -> str | None:
    """None for an answer that is empty, cut short, the question itself, or the same over and
    over."""
    return spoken(reply) if why_no_answer(reply, question) is None else None


def why_no_answer(reply: Reply, question: str) -> str | None:
    """Why a reply counts as no answer; None if it is one."""
    text = spoken(reply)
    words = normalised(text)
    if not words:
        return "it is empty"
    if not reply.complete:
        return "it was cut short"
    if repeats_itself(text):
        return "it says the same over and over"
    return "it is the question itself" if words == normalised(question) else None


def prompt_in(reply: Reply) -> str | None:
    """What stands between `<prompt>` and `</prompt>`, else all; None where that is no prompt."""
    text = spoken(reply)
    words = _between_marks(text)
    if words is None:
        if not reply.complete:
            return None
        words = _LABEL.sub("", _FENCE.sub("", text), count=1)
    found = words.strip().strip('"“”').strip()
    usable = normalised(found) and len(found) <= MAX_PROMPT and not repeats_itself(found)
    return found if usable else None


def _between_marks(text: str) -> str | None:
    """One look for each mark: a pattern of both takes long on a reply of many that never close."""
    start = _MARKS[0].search(text)
    stop = _MARKS[1].search(text, start.end()) if start else None
    return text[start.end() : stop.start()] if start and stop else None


def spoken(reply: Reply) -> str:
    """Without what a reasoning model thinks aloud before it replies."""
    return _THOUGHTS.sub("", reply.text).strip()


def _json_list(text: str) -> list[str] | None:
    """The texts of the first JSON list, or its objects' `question`; None where there is none."""
    start = text.find("[")
    if start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    texts = [_text_of(item) for item in found]
    known = [each.strip() for each in texts if each is not None]
    return known or None


def _text_of(item: Any) -> str | None:
    if isinstance(item, dict):
        item = item.get("question")
    return item if isinstance(item, str) else None


def _questions_of(lines: list[str]) -> list[str]:
    return [found for line in lines if (found := _question_of(line)) is not None]


def _opened(line: str) -> str:
    """Without emphasis (a power such as 2**3 stays), and marks before its number."""
    return _OPENING.sub("", _EMPHASIS.sub(r"\1", line), count=1)


def _question_of(line: str) -> str | None:
    """What a line asks, without its number, and without what may answer it on the same line."""
    line = _opened(line)
    number = _NUMBER.match(line)
    words = line[number.end() if number else 0 :].strip(_AROUND)
    asked = re.match(r".*[?？]", words)
    if asked is None:
        return words if number and not words.endswith((":", "：")) else None
    return asked[0] if number or asked[0] == words else None


def _is_question(text: str) -> bool:
    """Two words at least; where nothing parts them, as in Chinese, four characters."""
    words = normalised(text)
    enough = " " in words or (len(words) >= 4 and not words.isascii())
    return enough and len(text) <= _LONGEST_QUESTION and not repeats_itself(text)
