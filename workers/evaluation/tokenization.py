"""How references and answers are cut into what is compared: words, characters, or jieba's words.

Texts are lower-cased first. White space is no token; a punctuation mark is one of its own.
"""

import functools
import re
import tempfile
from collections.abc import Sequence
from typing import Any, Literal

from api_schemas.evaluations import Tokenization

Resolved = Literal["words", "characters", "jieba"]
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def resolved(wanted: Tokenization, references: Sequence[str]) -> Resolved:
    """`auto` takes characters where most of the references' letters are Chinese, else words."""
    if wanted != "auto":
        return wanted
    letters = [letter for text in references for letter in text if letter.isalpha()]
    chinese = sum(_CHINESE.match(letter) is not None for letter in letters)
    return "characters" if 2 * chinese > len(letters) else "words"


def tokens(text: str, how: Resolved) -> list[str]:
    lowered = text.lower()
    if how == "words":
        return _WORD.findall(lowered)
    pieces = lowered if how == "characters" else _jieba().cut(lowered)
    return [piece for piece in pieces if not piece.isspace()]


@functools.lru_cache(maxsize=1)
def _jieba() -> Any:
    import jieba

    tokenizer = jieba.Tokenizer()
    # It would read a cache of its dictionary from the machine's temporary folder, whoever put it
    # there; reading the dictionary itself takes a second.
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    return tokenizer
