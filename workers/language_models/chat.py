"""What is asked of a language model, and what it replies: one form for every kind of model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True)
class Choice:
    """How a reply must end: after `cue` on a line of its own, exactly one of `options`.

    A local model is held to it by its logits; an endpoint is asked for it in words, and a reply
    that breaks it is another sample's turn.
    """

    cue: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class ChatRequest:
    """One reply that is wanted. Equal requests to one model have the same reply, for ever: it is
    recorded. Whoever wants several replies to one question varies `sample`, which is also the seed.

    `max_tokens` counts what the model writes, before a choice's cue.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    sample: int = 0
    choice: Choice | None = None


@dataclass(frozen=True)
class Reply:
    """`text` is all that was written; `choice` the option that it ended with, if one was asked."""

    text: str
    choice: str | None
    prompt_tokens: int
    completion_tokens: int
    complete: bool
    """False where `max_tokens` cut it short."""


class LanguageModel(Protocol):
    """Writes replies. What one replies to a request never depends on the others in the call."""

    @property
    def identity(self) -> str:
        """What calls are recorded under: kind, name, and the revision of the weights if known."""

    def complete(
        self, requests: Sequence[ChatRequest], done: Callable[[int], None] | None = None
    ) -> list[Reply]:
        """A reply to each, in their order; `done` is told how many there are by now.

        Raises LanguageModelFailed if a model can't be had, and BudgetExhausted; what was bought by
        then is recorded either way.
        """
