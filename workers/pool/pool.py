"""The pool: the finite outcome space of a round, drawn before any report is read."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from api_schemas.datasets import PromptLine
from api_schemas.errors import InvalidInput
from workers.base_models import BaseModel, check_length
from workers.decoder import Decoder
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.responses import Wanted
from workers.pool.samplers import Sampler, TorchSampler
from workers.tensors import pack, unpack

MAX_ENUMERATED = 100_000
"""Responses per prompt that `enumerate` lists at most."""


@dataclass(frozen=True)
class Pool:
    """J responses to each of X prompts, with their weights under the initial model.

    `log_q_XJ` is the log of the base weight q(j|x): −log J for drawn samples (duplicates keep
    their multiplicity), log π₀(y_j|x) for an enumerated space.
    """

    prompts: list[str]
    prompt_weights_X: np.ndarray
    prompt_tokens: list[list[int]]
    tokens_XJT: Tensor
    lengths_XJ: Tensor
    texts: list[list[str]]
    log_q_XJ: np.ndarray

    def to_bytes(self) -> bytes:
        return pack(
            {"tokens": self.tokens_XJT, "lengths": self.lengths_XJ},
            {
                "prompts": self.prompts,
                "prompt_weights": self.prompt_weights_X.tolist(),
                "prompt_tokens": self.prompt_tokens,
                "texts": self.texts,
                "log_q": self.log_q_XJ.tolist(),
            },
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Pool":
        tensors, meta = unpack(data)
        return cls(
            prompts=meta["prompts"],
            prompt_weights_X=np.array(meta["prompt_weights"]),
            prompt_tokens=meta["prompt_tokens"],
            tokens_XJT=tensors["tokens"],
            lengths_XJ=tensors["lengths"],
            texts=meta["texts"],
            log_q_XJ=np.array(meta["log_q"]),
        )

    def flat_texts(self) -> tuple[list[str], list[str]]:
        """(prompts, responses), each of length X·J, for a reward model."""
        prompts = [
            prompt
            for prompt, responses in zip(self.prompts, self.texts, strict=True)
            for _ in responses
        ]
        return prompts, list(itertools.chain.from_iterable(self.texts))


def prompt_weights(lines: list[PromptLine]) -> np.ndarray:
    """The announced weights scaled to sum 1, or uniform ones; shape (X,)."""
    weights_X = np.array([1.0 if line.weight is None else line.weight for line in lines])
    normalised_X: np.ndarray = weights_X / weights_X.sum()
    return normalised_X


def encode_prompts(
    base: BaseModel, prompts: list[str], max_new_tokens: int, first_index: int = 0
) -> list[list[int]]:
    """Prompts in the chat template as token ids. Raises InvalidInput for one that can't fit."""
    encoded = [base.prompt_tokens(prompt) for prompt in prompts]
    for index, tokens in enumerate(encoded, start=first_index):
        if not tokens:
            raise InvalidInput(
                f"prompt {index} has no tokens: {prompts[index - first_index]!r}",
                param=f"prompts[{index}]",
            )
        check_length(index, len(tokens), max_new_tokens, base.context_tokens)
    return encoded


def sample_pool(
    base: BaseModel,
    lines: list[PromptLine],
    *,
    samples: int,
    max_new_tokens: int,
    labels: tuple[object, ...],
    first_index: int = 0,
    on_prompt: Callable[[int, int], None] = lambda done, total: None,
    sampler: Sampler | None = None,
) -> Pool:
    """Draw `samples` responses a prompt from the initial model; with our own sampler by default.

    `labels` seed the draws together with the prompt's index, so that a pool is the same however
    its prompts are spread over workers.
    """
    encoded = encode_prompts(base, [line.prompt for line in lines], max_new_tokens, first_index)
    indices = range(first_index, first_index + len(encoded))
    wanted = Wanted(encoded, [(*labels, x) for x in indices], samples, max_new_tokens)
    drawn = (sampler or TorchSampler()).draw(base, wanted, on_prompt)
    log_q_XJ = np.full((len(lines), samples), -np.log(samples))
    return _pool(base, lines, encoded, drawn.tokens_PJT, drawn.lengths_PJ, log_q_XJ)


def enumerate_pool(
    base: BaseModel, lines: list[PromptLine], max_new_tokens: int, first_index: int = 0
) -> Pool:
    """Every possible response with its exact probability under the initial model.

    Raises InvalidInput if a prompt has more than MAX_ENUMERATED responses.
    """
    vocabulary = int(base.model.config.vocab_size)
    ends = base.eos_token_ids
    inner = [token for token in range(vocabulary) if token not in ends]
    count = sum(len(inner) ** t * len(ends) for t in range(max_new_tokens))
    count += len(inner) ** max_new_tokens
    if count > MAX_ENUMERATED:
        raise InvalidInput(
            f"pool.method 'enumerate' would list {count} responses a prompt, at most "
            f"{MAX_ENUMERATED} are allowed: use 'sample' or a smaller max_new_tokens",
            param="pool.method",
        )
    rows = [
        (*body, end)
        for t in range(max_new_tokens)
        for body in itertools.product(inner, repeat=t)
        for end in sorted(ends)
    ]
    rows += list(itertools.product(inner, repeat=max_new_tokens))
    tokens_JT = torch.zeros((len(rows), max_new_tokens), dtype=torch.long)
    for row, response in zip(tokens_JT, rows, strict=True):
        row[: len(response)] = torch.tensor(response)
    lengths_J = torch.tensor([len(response) for response in rows])
    encoded = encode_prompts(base, [line.prompt for line in lines], max_new_tokens, first_index)
    tokens_XJT = tokens_JT.expand(len(lines), -1, -1).contiguous()
    lengths_XJ = lengths_J.expand(len(lines), -1).contiguous()
    decoder = Decoder(base.model)
    log_q_XJ = ResponseLogProbs(decoder, None, encoded, tokens_XJT, lengths_XJ)([None])[0]
    # float32 logits leave the sum beside 1 by 1e-7; q must be a distribution exactly.
    normalised = log_q_XJ - log_q_XJ.logsumexp(1, keepdim=True)
    return _pool(base, lines, encoded, tokens_XJT, lengths_XJ, normalised.numpy())


def concatenate(parts: list[Pool]) -> Pool:
    """Pools of consecutive prompts as one."""
    return Pool(
        prompts=[prompt for part in parts for prompt in part.prompts],
        prompt_weights_X=np.concatenate([part.prompt_weights_X for part in parts]),
        prompt_tokens=[tokens for part in parts for tokens in part.prompt_tokens],
        tokens_XJT=torch.cat([part.tokens_XJT for part in parts]),
        lengths_XJ=torch.cat([part.lengths_XJ for part in parts]),
        texts=[texts for part in parts for texts in part.texts],
        log_q_XJ=np.concatenate([part.log_q_XJ for part in parts]),
    )


def _pool(
    base: BaseModel,
    lines: list[PromptLine],
    encoded: list[list[int]],
    tokens_XJT: Tensor,
    lengths_XJ: Tensor,
    log_q_XJ: np.ndarray,
) -> Pool:
    return Pool(
        prompts=[line.prompt for line in lines],
        prompt_weights_X=prompt_weights(lines),
        prompt_tokens=encoded,
        tokens_XJT=tokens_XJT,
        lengths_XJ=lengths_XJ,
        texts=[response_texts(base, *pair) for pair in zip(tokens_XJT, lengths_XJ, strict=True)],
        log_q_XJ=log_q_XJ,
    )


def response_texts(base: BaseModel, tokens_JT: Tensor, lengths_J: Tensor) -> list[str]:
    """The responses as text, special tokens removed."""
    pairs = zip(tokens_JT.tolist(), lengths_J.tolist(), strict=True)
    return base.texts([tokens[:length] for tokens, length in pairs])
