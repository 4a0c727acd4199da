"""Prompts and responses as rows of tokens: a row is a prompt and several responses to it.

A response sees its prompt and itself, not its neighbours, so that the prompt is computed once and
every response as if it were alone. Axes: R rows, S slots of a row, Q sequences.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from workers.base_models import BaseModel
from workers.texts import in_utf8

ROW_SLOTS = 320
"""Responses share a row up to this: longer rows spend more on attention than the prompt saves."""

BATCH_SLOTS = 2048
"""Of a batch, padding included; bounds the memory of activations. A longer row comes alone."""

_PADDING = -1
_PROMPT = 0


@dataclass(frozen=True)
class TokenSequence:
    """A prompt's tokens, and a response's with the end token, at which the score is read."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]

    @property
    def slots(self) -> int:
        return len(self.prompt) + len(self.response)


def tokenized(
    base: BaseModel, prompts: Sequence[str], responses: Sequence[str], max_tokens: int
) -> list[TokenSequence]:
    """One sequence a response, of at most `max_tokens` and of what the base's context holds.

    What doesn't fit is cut: the beginning of the prompt, but not below half of the room, then the
    end of the response; the end token stays.
    """
    prompts, responses = in_utf8(prompts), in_utf8(responses)
    room = min(max_tokens, base.context_tokens) - 1
    turns = {prompt: base.prompt_tokens(prompt) for prompt in dict.fromkeys(prompts)}
    texts = list(dict.fromkeys(responses))
    encoded = base.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    answers = dict(zip(texts, encoded, strict=True))
    found = []
    for prompt, response in zip(prompts, responses, strict=True):
        turn, answer = turns[prompt], answers[response]
        kept = max(room // 2, room - len(answer))
        turn = turn[max(len(turn) - kept, 0) :]
        answer = answer[: room - len(turn)]
        found.append(TokenSequence(tuple(turn), (*answer, end_token(base))))
    return found


def end_token(base: BaseModel) -> int:
    """What ends a turn: the tokenizer's end token, where generation may end with several."""
    end = base.tokenizer.eos_token_id
    return int(end) if end in base.eos_token_ids else min(base.eos_token_ids)


@dataclass(frozen=True)
class Row:
    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]

    @property
    def slots(self) -> int:
        return len(self.prompt) + sum(map(len, self.responses))


def batches(sequences: Sequence[TokenSequence], slots: int = BATCH_SLOTS) -> Iterator["RowBatch"]:
    """Batches of rows of nearly the same length that hold every distinct sequence once."""
    rows = sorted(_rows(sequences), key=lambda row: row.slots)
    batch: list[Row] = []
    for row in rows:
        if batch and row.slots * (len(batch) + 1) > slots:
            yield RowBatch(tuple(batch))
            batch = []
        batch.append(row)
    if batch:
        yield RowBatch(tuple(batch))


def _rows(sequences: Sequence[TokenSequence]) -> Iterator[Row]:
    by_prompt: dict[tuple[int, ...], dict[tuple[int, ...], None]] = defaultdict(dict)
    for each in sequences:
        by_prompt[each.prompt][each.response] = None
    for prompt, found in by_prompt.items():
        taken: list[tuple[int, ...]] = []
        for response in sorted(found, key=len):
            if taken and Row(prompt, (*taken, response)).slots > ROW_SLOTS:
                yield Row(prompt, tuple(taken))
                taken = []
            taken.append(response)
        yield Row(prompt, tuple(taken))


@dataclass(frozen=True)
class RowBatch:
    """Rows padded on the right to the longest."""

    rows: tuple[Row, ...]

    @property
    def sequences(self) -> list[TokenSequence]:
        """In the order of `ends_2Q`."""
        return [TokenSequence(row.prompt, each) for row in self.rows for each in row.responses]

    @cached_property
    def slots(self) -> int:
        return max(row.slots for row in self.rows)

    @property
    def tokens_RS(self) -> Tensor:
        return self._filled(0, lambda row: [*row.prompt, *(t for r in row.responses for t in r)])

    @property
    def positions_RS(self) -> Tensor:
        """A response's tokens follow the prompt's, wherever in the row it stands."""
        return self._filled(
            0,
            lambda row: [
                *range(len(row.prompt)),
                *(len(row.prompt) + t for each in row.responses for t in range(len(each))),
            ],
        )

    @property
    def mask_RSS(self) -> Tensor:
        """True where a slot (second axis) sees a key's slot (third axis)."""
        part_RS = self._filled(
            _PADDING,
            lambda row: [
                *[_PROMPT] * len(row.prompt),
                *(g for g, each in enumerate(row.responses, start=1) for _ in each),
            ],
        )
        own = part_RS[:, :, None] == part_RS[:, None, :]
        prompt = (part_RS == _PROMPT)[:, None, :]
        order = torch.arange(self.slots)
        return (own | prompt) & (order[None, :] <= order[:, None])

    @property
    def ends_2Q(self) -> Tensor:
        """Row and slot of each sequence's last token."""
        found = []
        for place, row in enumerate(self.rows):
            end = len(row.prompt)
            for response in row.responses:
                end += len(response)
                found.append((place, end - 1))
        return torch.tensor(found).T

    def _filled(self, padding: int, values: Callable[[Row], list[int]]) -> Tensor:
        filled = torch.full((len(self.rows), self.slots), padding)
        for place, row in enumerate(self.rows):
            filled[place, : row.slots] = torch.tensor(values(row), dtype=torch.long)
        return filled
