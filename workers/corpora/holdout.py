"""Which paragraphs are held out: nothing that comes of them is trained on.

A question of a held-out paragraph is held out. It is no example in the request for another
paragraph's questions, nor one that a later round starts from, so that later questions all descend
from paragraphs that are trained on, and none of them is held out. Paragraphs that say the same
share their fate: what is held out of one document must not be trained on by another's.
"""

import random
from collections.abc import Sequence

from workers.corpora.near_duplicates import normalised


def held_out_paragraphs(texts: Sequence[str], share: float, seed: int) -> frozenset[int]:
    """Places of `share` of the different texts, rounded, but at least one; of a single text none.

    Texts are the same where only spaces, case or punctuation differ.
    """
    kinds = [normalised(text) for text in texts]
    different = list(dict.fromkeys(kinds))
    held_out = min(max(1, round(share * len(different))), len(different) - 1)
    chosen = random.Random(f"{seed}/holdout").sample(range(len(different)), max(0, held_out))
    drawn = {different[place] for place in chosen}
    return frozenset(place for place, kind in enumerate(kinds) if kind in drawn)
