"""Replies that say one thing over and over, as small models do that have lost their way.

For whoever takes a reply as a question, an answer or a prompt: such a reply is none of them.
"""

import re
from collections import Counter

import numpy as np

from workers.mechanism.arrays import Mask

_SHORTEST = 40
"""Characters; a shorter text has no room to be told from an emphatic one."""
_TIMES = 4
"""In a row: a refrain comes three times."""
_LINES = 6
_LONGEST = 4000
"""Characters that are looked at, from the end, where a loop is."""


def repeats_itself(text: str) -> bool:
    """Whether at least half of the text is one phrase, four times or more on end, or one line or
    sentence of six or more, whatever number stands before it.

    Letters' case and white space don't count; no word needs to be known, so that any language will
    do. Used by `workers.corpora.replies`, through which question writing, answer writing and
    prompt optimisation take what they were written.
    """
    flat = " ".join(text.lower().split())[-_LONGEST:]
    if len(flat) < _SHORTEST:
        return False
    return _has_loop(flat) or _has_refrain(text.lower())


def _has_loop(text: str) -> bool:
    """A phrase of p characters that comes four times or more shows as a run of 3p or more places
    that equal those p further on."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    for phrase in range(1, len(codes) // _TIMES + 1):
        run = _longest_run(codes[phrase:] == codes[:-phrase])
        if run >= (_TIMES - 1) * phrase and 2 * (run + phrase) >= len(codes):
            return True
    return False


def _longest_run(equal: Mask) -> int:
    ends = np.flatnonzero(~equal)
    edges = np.concatenate([[-1], ends, [len(equal)]])
    return int(np.diff(edges).max()) - 1


def _has_refrain(text: str) -> bool:
    parts = [re.sub(r"[\W\d_]+", "", part) for part in re.split(r"[.!?。！？\n]+", text)]
    said = [part for part in parts if part]
    if len(said) < _LINES:
        return False
    return 2 * Counter(said).most_common(1)[0][1] >= len(said)
