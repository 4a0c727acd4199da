"""A base model that writes replies in this process, many at once."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from api_schemas.errors import InvalidInput
from workers.artifacts import ArtifactStore
from workers.base_models import BaseModel, load_in_full_precision
from workers.decoder import Decoder
from workers.language_models.call_book import call_key
from workers.language_models.chat import ChatRequest, Choice, Reply
from workers.language_models.choices import before_cue
from workers.language_models.meter import Usage
from workers.language_models.recorded import Bought, Till
from workers.own_base_models import is_own, materialise
from workers.pool import refill
from workers.pool.inversion import invert
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.randomness import uniforms
from workers.serving.prompts import prompt_tokens
from workers.serving.requests import Turn

_AT_ONCE = 64
"""Replies between two moments at which they are kept. Of SmolLM2 on two cores that is a minute or
two; larger batches are hardly faster."""


class LocalSource:
    """Samples in batches. A reply is decided by its request alone, up to rounding: it draws with
    uniforms of its own, in float32 on a GPU too."""

    def __init__(self, artifacts: ArtifactStore, name: str, revision: str, identity: str):
        if is_own(name):
            materialise(artifacts, name, revision)
        self._base = load_in_full_precision(name, revision)
        self._decoder, self._identity = Decoder(self._base.model), identity

    def write(self, requests: Sequence[ChatRequest], till: Till) -> Iterator[ChatRequest]:
        """As `Source.write`. Raises InvalidInput (`prompt_too_long`) before anything is written."""
        prompts = {request: self._prompt(request) for request in requests}
        waiting = sorted(requests, key=_settings)  # a stable order, so that equals stay as asked
        while waiting:
            batch = self._reserved(waiting, prompts, till)
            waiting = waiting[len(batch) :]
            try:
                replies = self._replies([prompts[each] for each in batch], list(batch))
            except BaseException:
                for most in batch.values():
                    till.meter.release(most)
                raise
            for (request, most), reply in zip(batch.items(), replies, strict=True):
                usage = Usage(reply.prompt_tokens, reply.completion_tokens)
                till.keep(request, most, Bought(reply, usage))
                yield request

    def _reserved(
        self, waiting: Sequence[ChatRequest], prompts: dict[ChatRequest, list[int]], till: Till
    ) -> dict[ChatRequest, Usage]:
        """The next batch, of one kind of settings, and no larger than the budget surely allows."""
        batch: dict[ChatRequest, Usage] = {}
        for request in waiting[:_AT_ONCE]:
            most = Usage(len(prompts[request]), request.max_tokens)
            if not batch:
                till.meter.reserve(most)
            elif _settings(request) != _settings(waiting[0]) or not till.meter.try_reserve(most):
                break
            batch[request] = most
        return batch

    def _prompt(self, request: ChatRequest) -> list[int]:
        turns = [Turn(role=each.role, content=each.content) for each in request.messages]
        tokens = prompt_tokens(self._base, turns)
        cue = _longest_ending(self._base, request.choice) if request.choice else 0
        context = self._base.context_tokens
        if len(tokens) + request.max_tokens + cue > context:
            raise InvalidInput(
                f"{self._identity}: a prompt has {len(tokens)} tokens; with {request.max_tokens} "
                f"to write{f' and {cue} for its choice' if cue else ''} that is beyond the model's "
                f"context of {context}: {request.messages[-1].content[:80]!r}",
                code="prompt_too_long",
            )
        return tokens

    def _replies(self, prompts: list[list[int]], requests: Sequence[ChatRequest]) -> list[Reply]:
        """To requests of the same settings, in one batch."""
        tokens = requests[0].max_tokens
        keys = [call_key(self._identity, request) for request in requests]
        pick = functools.partial(sharpened, requests[0].temperature, requests[0].top_p)
        drawn = refill.draw(
            self._decoder,
            prompts,
            lambda p: uniforms((1, tokens), "language_model", keys[p]),
            self._base.eos_token_ids,
            pick=pick,
        )
        lengths = drawn.lengths_PJ[:, 0].tolist()
        rows = zip(requests, prompts, drawn.tokens_PJT[:, 0].tolist(), lengths, strict=True)
        return [self._reply(each, prompt, row[:length]) for each, prompt, row, length in rows]

    def _reply(self, request: ChatRequest, prompt: list[int], written: list[int]) -> Reply:
        ended = written[-1] in self._base.eos_token_ids
        (text,) = self._base.texts([written])
        option = None
        if request.choice is not None:
            text = before_cue(text, request.choice)
            option = self._option(prompt, text, request.choice)
            text = f"{_lead(text, request.choice)} {option}"
        return Reply(text, option, len(prompt), len(written), complete=ended)

    def _option(self, prompt: list[int], text: str, choice: Choice) -> str:
        log_probs_O = option_log_probs(self._base, self._decoder, prompt, text, choice)
        return choice.options[int(log_probs_O.argmax())]


def sharpened(temperature: float, top_p: float, logits_RV: Tensor, uniforms_RJ: Tensor) -> Tensor:
    """Tokens of softmax(logits/temperature) at the uniforms, shape (R, J); at temperature 0 the
    likeliest, the first of equals.

    With top_p < 1 only of the nucleus: the fewest likeliest tokens whose probabilities reach top_p
    together (Holtzman et al. 2020, arXiv 1904.09751, §3.1).
    """
    if temperature == 0:
        return logits_RV.argmax(-1, keepdim=True).expand_as(uniforms_RJ)
    # The largest is subtracted first: a tiny temperature would make infinities of the quotients.
    scaled_RV = (logits_RV - logits_RV.amax(-1, keepdim=True)) / temperature
    if top_p < 1:
        shares_RV = torch.softmax(scaled_RV, -1)
        sorted_RV, order_RV = shares_RV.sort(dim=-1, descending=True, stable=True)
        outside_RV = sorted_RV.cumsum(-1) - sorted_RV >= top_p
        outside_RV[:, 0] = False  # rounding must leave one
        outside_RV = torch.zeros_like(outside_RV).scatter(-1, order_RV, outside_RV)
        scaled_RV = scaled_RV.masked_fill(outside_RV, -math.inf)
    return invert(scaled_RV, uniforms_RJ)


@dataclass(frozen=True)
class _Options:
    """`prefix` are the tokens of what was written and the cue, `options` those of each option."""

    prefix: list[int]
    options: list[list[int]]


def option_log_probs(
    base: BaseModel, decoder: Decoder, prompt: list[int], text: str, choice: Choice
) -> Tensor:
    """log of the probability that after prompt, text and cue each option stands, float64 (O,).

    It is the product of the probabilities of the option's tokens, less that of longer options which
    begin with the same tokens: where "10" is an option, "1" must not get what belongs to it.
    """
    rows = _tokens(base, text, choice)
    longest = max(len(option) for option in rows.options)
    tokens_1OT = torch.zeros((1, len(rows.options), longest), dtype=torch.long)
    for row, option in zip(tokens_1OT[0], rows.options, strict=True):
        row[: len(option)] = torch.tensor(option)
    lengths_1O = torch.tensor([[len(option) for option in rows.options]])
    scorer = ResponseLogProbs(decoder, None, [prompt + rows.prefix], tokens_1OT, lengths_1O)
    joint_O = scorer([None])[0, 0]
    peak = float(joint_O.max())
    shares_O = (joint_O - peak).exp()
    for place in sorted(range(len(rows.options)), key=lambda o: -len(rows.options[o])):
        longer = [o for o, other in enumerate(rows.options) if _extends(other, rows.options[place])]
        shares_O[place] -= shares_O[longer].sum()
    return shares_O.clamp(min=0.0).log() + peak


def _extends(longer: list[int], option: list[int]) -> bool:
    return len(longer) > len(option) and longer[: len(option)] == option


def _tokens(base: BaseModel, text: str, choice: Choice) -> _Options:
    def tokens(words: str) -> list[int]:
        return list(base.tokenizer(words, add_special_tokens=False)["input_ids"])

    return _Options(
        tokens(_lead(text, choice)), [tokens(f" {option}") for option in choice.options]
    )


def _lead(text: str, choice: Choice) -> str:
    """What is written, and the cue on a line of its own."""
    return f"{text}\n{choice.cue}" if text else choice.cue


def _longest_ending(base: BaseModel, choice: Choice) -> int:
    rows = _tokens(base, "", choice)
    # The line's end, and what a text that is cut and read anew may have more.
    return len(rows.prefix) + max(map(len, rows.options)) + 8


def _settings(request: ChatRequest) -> tuple[int, float, float]:
    return request.max_tokens, request.temperature, request.top_p
