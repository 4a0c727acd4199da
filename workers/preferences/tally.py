"""Counting what a file of preferences holds: repetitions, contradictions, and lines left out."""

import hashlib
import struct
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_schemas.datasets import DataValidation, LineProblem
from api_schemas.errors import InvalidInput
from workers.preferences.comparison import Comparison
from workers.preferences.lines import Dirt

_SHOWN_OF_EACH_KIND = 20
_DIGEST_BYTES = 16
_ROW = np.dtype(
    [
        ("said", f"V{_DIGEST_BYTES}"),
        ("pair", f"V{_DIGEST_BYTES}"),
        ("prompt", f"V{_DIGEST_BYTES}"),
        ("line", "<i8"),
        ("leaning", "i1"),
        ("split", "i1"),
    ]
)
_NUMBERS = struct.Struct("<qbb")
_TRAIN, _TEST = 1, 2
_SPLITS: Mapping[str | None, int] = {None: 0, "train": _TRAIN, "test": _TEST}
_NEVER = np.iinfo(np.int64).max

Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]


class Tally:
    """Lines as they are read; a comparison leaves 58 bytes, so that a million fit anywhere.

    Counts and `usable` are for when all lines were added.
    """

    def __init__(self) -> None:
        self._lines = 0
        self._left_out: Counter[str] = Counter()
        self._problems: defaultdict[str, list[LineProblem]] = defaultdict(list)
        self._packed = bytearray()

    def add(self, line: int, result: Comparison | Dirt) -> None:
        self._lines += 1
        if isinstance(result, Dirt):
            self._left_out[result.kind] += 1
            self._show(result.kind, line, result.reason)
            return
        prompt, (first, second) = result.prompt, sorted((result.chosen, result.rejected))
        said = (*_texts(result), result.share, result.votes, result.margin, result.split)
        for parts in (said, (prompt, first, second), (prompt,)):
            self._packed += _digest(parts)
        leaning = 0 if result.is_tie else 1 if result.chosen == first else -1
        self._packed += _NUMBERS.pack(line, leaning, _SPLITS[result.split])

    def usable(self) -> list[bool]:
        """For each comparison in the order it was added, whether it is to be used."""
        return [bool(each) for each in self._usable]

    def validation(self) -> DataValidation:
        """Raises InvalidInput (`file`) if there is nothing to use."""
        rows, usable = self._rows, self._usable
        tied = usable & (rows["leaning"] == 0)
        contradictions, both_splits = self._note_contradictions(), self._note_left_out_tests()
        self._note_duplicates()
        for line in rows["line"][tied][:_SHOWN_OF_EACH_KIND]:
            self._show("tied_votes", line, "as many votes for either response")
        problems = sorted(
            (each for kind in self._problems.values() for each in kind), key=lambda each: each.line
        )
        if not usable.any():
            shown = "; ".join(f"{each.line}: {each.problem}" for each in problems[:5])
            raise InvalidInput(f"no line holds a pair that can be used: line {shown}", param="file")
        return DataValidation(
            lines=self._lines,
            pairs=int(usable.sum()),
            prompts=len(np.unique(rows["prompt"][usable])),
            tied_votes=int(tied.sum()),
            duplicates=int(self._repeats.sum()),
            contradictions=contradictions,
            prompts_in_both_splits=both_splits,
            problems=problems,
            **self._left_out,
        )

    @cached_property
    def _rows(self) -> NDArray[Any]:
        return np.frombuffer(bytes(self._packed), _ROW)

    @cached_property
    def _first_said(self) -> Integers:
        """The first line that says what each line says."""
        return _first_line_of(self._rows["said"], self._rows["line"], self._everything)

    @cached_property
    def _first_trained(self) -> Integers:
        """The first line that marks each line's prompt as train, _NEVER if none does."""
        rows = self._rows
        return _first_line_of(rows["prompt"], rows["line"], rows["split"] == _TRAIN)

    @property
    def _everything(self) -> Booleans:
        return np.ones(len(self._rows), dtype=bool)

    @property
    def _repeats(self) -> Booleans:
        repeats: Booleans = self._first_said != self._rows["line"]
        return repeats

    @property
    def _in_both_splits(self) -> Booleans:
        both: Booleans = (self._rows["split"] == _TEST) & (self._first_trained != _NEVER)
        return both

    @cached_property
    def _usable(self) -> Booleans:
        return ~self._repeats & ~self._in_both_splits

    def _note_duplicates(self) -> None:
        for row in np.flatnonzero(self._repeats)[:_SHOWN_OF_EACH_KIND]:
            self._show(
                "duplicates",
                self._rows["line"][row],
                f"says the same as line {self._first_said[row]}",
            )

    def _note_left_out_tests(self) -> int:
        """The number of prompts on both sides."""
        both = self._in_both_splits
        for row in np.flatnonzero(both)[:_SHOWN_OF_EACH_KIND]:
            reason = f"marked test, but line {self._first_trained[row]} marks the prompt train"
            self._show("prompts_in_both_splits", self._rows["line"][row], reason)
        return len(np.unique(self._rows["prompt"][both]))

    def _note_contradictions(self) -> int:
        """The number of pairs that are preferred both ways."""
        rows = self._rows
        forward, backward = (
            _first_line_of(rows["pair"], rows["line"], rows["leaning"] == leaning)
            for leaning in (1, -1)
        )
        earlier, later = np.minimum(forward, backward), np.maximum(forward, backward)
        # Each pair once: at the line that first says the opposite.
        opposing = np.flatnonzero((later != _NEVER) & (later == rows["line"]))
        for row in opposing[:_SHOWN_OF_EACH_KIND]:
            reason = f"prefers the other response than line {earlier[row]}"
            self._show("contradictions", rows["line"][row], reason)
        return len(opposing)

    def _show(self, kind: str, line: int, reason: str) -> None:
        if len(self._problems[kind]) < _SHOWN_OF_EACH_KIND:
            self._problems[kind].append(LineProblem(line=int(line), problem=reason))


def _first_line_of(keys: NDArray[Any], lines: Integers, counted: Booleans) -> Integers:
    """For each row the first counted line with the same key, _NEVER where there is none."""
    _, group = np.unique(keys, return_inverse=True)
    first = np.full(len(keys), _NEVER)
    np.minimum.at(first, group[counted], lines[counted])
    found: Integers = first[group]
    return found


def _texts(comparison: Comparison) -> tuple[str, str, str]:
    return comparison.prompt, comparison.chosen, comparison.rejected


def _digest(parts: tuple[object, ...]) -> bytes:
    """`repr` tells ("a", "bc") from ("ab", "c")."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=_DIGEST_BYTES).digest()
