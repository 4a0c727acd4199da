"""Questions and answers as tokens, in batches of nearly the same length.

Axes: R rows, S slots of a row, A answer tokens of a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from api_schemas.errors import InvalidInput
from workers.base_models import BaseModel
from workers.question_answers import QuestionAnswer
from workers.reward_training.rows import end_token
from workers.texts import in_utf8


@dataclass(frozen=True)
class Example:
    """A question's chat turn, and the answer's tokens with the end token, unless it was cut."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    is_cut: bool

    @property
    def slots(self) -> int:
        return len(self.prompt) + len(self.answer)


def examples_of(
    base: BaseModel, lines: Sequence[QuestionAnswer], context_tokens: int
) -> list[Example]:
    """The lines in their order, each of `context_tokens` at most, and of what the base holds.

    A longer answer is cut at its end, and has no end token then: it doesn't end there. Raises
    InvalidInput (`file`) for a question that leaves no room for a token of the answer.
    """
    room = min(context_tokens, base.context_tokens)
    texts = in_utf8(each.answer for each in lines)
    answers = base.tokenizer(texts, add_special_tokens=False)["input_ids"]
    questions = in_utf8(each.question for each in lines)
    found = []
    for line, question, answer in zip(lines, questions, answers, strict=True):
        prompt = base.prompt_tokens(question)
        if len(prompt) >= room:
            raise InvalidInput(
                f"line {line.line}: the question takes {len(prompt)} tokens with its chat "
                f"template, and the context of {room} leaves no room for an answer",
                param="file",
            )
        whole = (*answer, end_token(base))
        kept = whole[: room - len(prompt)]
        found.append(Example(tuple(prompt), kept, is_cut=len(kept) < len(whole)))
    return found


def steps_of(count: int, batch: int, epochs: int, seed: int) -> list[list[int]]:
    """The examples of each step: every epoch has each of `count` once, in an order of its own."""
    steps = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(count).tolist()
        steps += [order[start : start + batch] for start in range(0, count, batch)]
    return steps


def parts_of(examples: Sequence[Example], slots: int) -> Iterator["ExampleBatch"]:
    """Batches of nearly the same length and of `slots` at most, padding included; a longer example
    comes alone."""
    part: list[Example] = []
    for each in sorted(examples, key=lambda each: each.slots):
        if part and each.slots * (len(part) + 1) > slots:
            yield ExampleBatch(tuple(part))
            part = []
        part.append(each)
    if part:
        yield ExampleBatch(tuple(part))


@dataclass(frozen=True)
class ExampleBatch:
    """Examples as rows, padded on the right, where causal attention never looks.

    The last token has no slot: nothing is predicted from it.
    """

    examples: tuple[Example, ...]

    @property
    def tokens_RS(self) -> Tensor:
        longest = max(each.slots for each in self.examples) - 1
        tokens_RS = torch.zeros((len(self.examples), longest), dtype=torch.long)
        for row, each in zip(tokens_RS, self.examples, strict=True):
            row[: each.slots - 1] = torch.tensor((*each.prompt, *each.answer)[:-1])
        return tokens_RS

    @property
    def predicting_2A(self) -> Tensor:
        """Row and slot from which each answer token is predicted: its predecessor's."""
        places = [
            (row, len(each.prompt) - 1 + token)
            for row, each in enumerate(self.examples)
            for token in range(len(each.answer))
        ]
        return torch.tensor(places).T

    @property
    def answer_A(self) -> Tensor:
        return torch.tensor([token for each in self.examples for token in each.answer])
