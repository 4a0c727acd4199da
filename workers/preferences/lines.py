"""What a line of preferences says: its shape, and the comparison in it or why there is none."""

from dataclasses import dataclass
from typing import Any, Literal

from api_schemas.datasets import (
    BadLineError,
    DialogueLine,
    PreferenceLine,
    VotesLine,
    as_line,
)
from workers.preferences.comparison import Comparison
from workers.preferences.dialogues import NotAPair, split_dialogues

PreferenceRecord = PreferenceLine | VotesLine | DialogueLine

DirtKind = Literal["same_texts", "empty_replies", "not_a_pair"]

EXPECTED = (
    "expected prompt, chosen, rejected; or prompt, responses, votes; or the dialogues chosen, "
    "rejected"
)


@dataclass(frozen=True)
class Dirt:
    """Why a line that can be read can't be used; `kind` is a count of DataValidation."""

    kind: DirtKind
    reason: str


def preference_record(fields: dict[str, Any]) -> PreferenceRecord:
    """The line in the shape that its fields show. Raises BadLineError naming a field."""
    if fields.keys() & {"responses", "votes", "tied_votes"}:
        return as_line(fields, VotesLine)
    if not fields.keys() & {"prompt", "chosen", "rejected"}:
        raise BadLineError(f"no known field: {EXPECTED}")
    if "prompt" in fields:
        return as_line(fields, PreferenceLine)
    return as_line(fields, DialogueLine)


class OneShape:
    """All lines of a file must give the same fields: what a missing one means is not guessed."""

    def __init__(self, unit: str) -> None:
        self.first_number: int | None = None
        self._unit = unit
        self._fields: frozenset[str] = frozenset()

    def check(self, number: int, record: PreferenceRecord) -> None:
        """Raises BadLineError for a field that is given here or on the first line, not on both."""
        fields = frozenset(name for name, value in vars(record).items() if value is not None)
        if self.first_number is None:
            self.first_number, self._fields = number, fields
        first = f"{self._unit} {self.first_number}"
        if missing := sorted(self._fields - fields):
            raise BadLineError(
                f"{missing[0]} is missing, but {first} has it: give it on all or none"
            )
        if added := sorted(fields - self._fields):
            raise BadLineError(f"{added[0]} is given, but {first} lacks it: give it on all or none")


def to_comparison(record: PreferenceRecord) -> Comparison | Dirt:
    """The comparison that the line holds, or why it can't be used."""
    if isinstance(record, VotesLine):
        return _dirt(*record.responses) or _voted(record)
    if isinstance(record, PreferenceLine):
        pair = record.prompt, record.chosen, record.rejected
    else:
        try:
            pair = split_dialogues(record.chosen, record.rejected)
        except NotAPair as reason:
            return Dirt("not_a_pair", str(reason))
    margin, split = record.margin or 0.0, record.split
    return _dirt(*pair[1:]) or Comparison(*pair, margin=margin, split=split)


def _dirt(chosen: str, rejected: str) -> Dirt | None:
    if not (chosen.strip() and rejected.strip()):
        return Dirt("empty_replies", "a reply is empty")
    if chosen.strip() == rejected.strip():
        return Dirt("same_texts", "both replies are the same text")
    return None


def _voted(record: VotesLine) -> Comparison:
    """share = (votes for the chosen + half the ties)/(all votes); fractions weigh one vote.

    A tie keeps its texts in alphabetical order, so that mirrored lines give the same comparison.
    """
    ties = (record.tied_votes or 0.0) / 2
    (more, chosen), (less, rejected) = sorted(
        zip(record.votes, record.responses, strict=True), reverse=True
    )
    share = 0.5 if more == less else max(0.5, (more + ties) / (more + less + 2 * ties))
    if share == 0.5:
        chosen, rejected = sorted((chosen, rejected))
    fractions = any(vote % 1 for vote in (*record.votes, record.tied_votes or 0.0))
    votes = 1.0 if fractions else more + less + 2 * ties
    return Comparison(record.prompt, chosen, rejected, share, votes, split=record.split)
