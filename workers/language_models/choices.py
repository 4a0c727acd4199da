"""Replies that end with a choice: how one is asked for in words, and read."""

import re
from collections.abc import Sequence
from dataclasses import replace

from workers.language_models.chat import ChatRequest, Choice, Message

_MARKS = re.compile(r"^\s*#+\s|[*_`]")
"""Of Markdown: a heading's, of emphasis, of code."""


def with_words(request: ChatRequest) -> ChatRequest:
    """The request with its last message asking for the choice, and room for the line with it.

    An option has no more tokens than bytes; the cue and the line's end are counted alike.
    """
    choice = request.choice
    if choice is None:
        return request
    options = ", ".join(choice.options)
    asked = (
        f"End your reply with one line of its own that says `{choice.cue} X`, where X is exactly "
        f"one of: {options}. Write nothing after it."
    )
    *before, last = request.messages
    room = max(len(f"\n{choice.cue} {option}\n".encode()) for option in choice.options)
    return replace(
        request,
        messages=(*before, Message(last.role, f"{last.content}\n\n{asked}")),
        max_tokens=request.max_tokens + room,
        choice=None,
    )


def chosen(text: str, choice: Choice) -> str | None:
    """The option that the last line names; None unless every line with the cue names that one.

    Markdown's marks don't count, nor does a full stop at the end, nor of a score the `/10` that
    says how far the options go.
    """
    cue = _unmarked(choice.cue)
    lines = [_unmarked(line) for line in text.strip().splitlines()]
    said = {
        _named(line.removeprefix(cue), choice.options) for line in lines if line.startswith(cue)
    }
    if not lines or not lines[-1].startswith(cue) or len(said) != 1:
        return None
    return said.pop()


def before_cue(text: str, choice: Choice) -> str:
    """What was written before the first line that starts with the cue, marked or not."""
    cue, before = _unmarked(choice.cue), []
    for line in text.splitlines(keepends=True):
        if _unmarked(line).startswith(cue):
            break
        before.append(line)
    return "".join(before).rstrip()


def _unmarked(line: str) -> str:
    return _MARKS.sub("", line).strip()


def _named(said: str, options: Sequence[str]) -> str | None:
    """`A/B` names two letters, and neither; of numbers alone a slash makes a fraction."""
    said = said.strip().removesuffix(".").rstrip()
    if all(option.isdecimal() for option in options):
        score, _, of = said.partition("/")
        said = score.rstrip() if of.strip() == options[-1] else said
    return said if said in options else None
