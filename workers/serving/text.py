"""An answer's text as its tokens come, and where it stops."""

from collections.abc import Sequence

from workers.base_models import BaseModel

_UNFINISHED = "\ufffd"
"""What a tokenizer makes of the first bytes of a character that the next token completes."""


class TextStream:
    """Gives out text that no later token changes, and nothing from a stop text on."""

    def __init__(self, base: BaseModel, stops: Sequence[str]):
        self._base, self._stops = base, stops
        self._tokens: list[int] = []
        self._given = 0
        self.stopped = False

    def add(self, token: int) -> str:
        """The text that this token makes certain."""
        self._tokens.append(token)
        return self._give(final=False)

    def finish(self) -> str:
        """What was held back."""
        return "" if self.stopped else self._give(final=True)

    def _give(self, final: bool) -> str:
        (text,) = self._base.texts([self._tokens])
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, end = True, min(found)
        else:
            end = len(text) if final else len(text) - held_back(text, self._stops)
        piece = text[self._given : end]
        self._given = max(self._given, end)
        return piece


def held_back(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end may yet become another character, or a stop text."""
    unfinished = len(text) - len(text.rstrip(_UNFINISHED))
    begun = (
        length for stop in stops for length in range(1, len(stop)) if text.endswith(stop[:length])
    )
    return max(unfinished, max(begun, default=0))
