"""A comparison of two responses, and data split so that no prompt is on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from api_schemas.datasets import DataValidation


@dataclass(frozen=True)
class Comparison:
    """Two responses to one prompt; `share` of the votes, in [½, 1], prefers `chosen`.

    `votes` is how many there were, counting ties as half a vote for each side; 1 where the data
    names only the better response. A pair with share ½ is a tie of votes: it says something to
    methods with soft labels, and nothing about accuracy. `margin` ≥ 0 is by how much, on the scale
    of the score, `chosen` ought to lead.
    """

    prompt: str
    chosen: str
    rejected: str
    share: float = 1.0
    votes: float = 1.0
    margin: float = 0.0
    split: Literal["train", "test"] | None = None

    @property
    def is_tie(self) -> bool:
        return self.share == 0.5


@dataclass(frozen=True)
class Preferences:
    """The usable comparisons of a file, each once, sorted: the order of lines doesn't matter."""

    comparisons: Sequence[Comparison]
    validation: DataValidation


@dataclass(frozen=True)
class Split:
    """Comparisons to fit to, and those of held-out prompts; `note` says why none are held out."""

    train: Sequence[Comparison]
    holdout: Sequence[Comparison]
    note: str | None = None

    @property
    def everything(self) -> list[Comparison]:
        """In an order that doesn't depend on what is held out."""
        both = [*self.train, *self.holdout]
        return sorted(both, key=lambda each: (each.prompt, each.chosen, each.rejected))
