"""Questions that say nearly the same in nearly the same characters, and the first of each."""

import unicodedata

from datasketch import MinHash, MinHashLSH

_GRAM = 3
_PERMUTATIONS = 128
_RECALL = 0.99
"""Of pairs just as similar as the threshold, that the index finds; of more similar ones, more."""

_BLANK = MinHash(num_perm=_PERMUTATIONS, seed=1, scheme="affine32")


def normalised(text: str) -> str:
    """Letters and digits in small letters, words one space apart; of any width and any script."""
    letters = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(each if each.isalnum() else " " for each in letters).split())


def grams(text: str) -> frozenset[str]:
    """The 3-grams of a normalised text; of a shorter one, itself."""
    words = normalised(text)
    return frozenset(words[k : k + _GRAM] for k in range(max(1, len(words) - _GRAM + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """|A ∩ B| / |A ∪ B|, from 0 to 1. Neither is empty."""
    return len(one & other) / len(one | other)


class NearDuplicates:
    """Texts, of which none is as similar as `threshold` to one before it.

    MinHash LSH (Broder 1997; Indyk and Motwani 1998) names those before that may be so similar, and
    their exact Jaccard similarity of 3-grams decides. The permutations are always the same ones, so
    the same texts are kept every time.
    """

    def __init__(self, threshold: float):
        self.threshold = threshold
        self._index = MinHashLSH(num_perm=_PERMUTATIONS, params=bands(threshold))
        self._kept: list[frozenset[str]] = []

    def add(self, text: str) -> bool:
        """Whether it is kept."""
        found = grams(text)
        sketch = _BLANK.copy()
        sketch.update_batch([each.encode() for each in sorted(found)])
        for place in self._index.query(sketch):
            if jaccard(found, self._kept[place]) >= self.threshold:
                return False
        self._index.insert(len(self._kept), sketch)
        self._kept.append(found)
        return True


def bands(threshold: float) -> tuple[int, int]:
    """(b, r): the fewest bands of r permutations each that find a pair at the threshold surely.

    Two texts of similarity s share a band with probability 1 − (1 − sʳ)ᵇ (Leskovec, Rajaraman and
    Ullman, Mining of Massive Datasets, section 3.4.2). Long bands name fewer texts in vain.
    """
    for rows in range(_PERMUTATIONS // 2, 0, -1):
        count = _PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** count >= _RECALL:
            return count, rows
    return _PERMUTATIONS, 1
