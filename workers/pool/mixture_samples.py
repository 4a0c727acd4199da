"""Fresh responses of every candidate, with the log-probabilities that a mixture valuation needs.

Together with the pool, which is the initial model's sample, they make a `MixtureSamples`
(docs/mechanism.md §2, *Support*).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.pool import response_texts
from workers.pool.randomness import uniforms
from workers.pool.refill import draw
from workers.pool.sampling import MAX_ROWS
from workers.training.stacked_lora import StackedAdapters


@dataclass(frozen=True, eq=False)
class CandidateSamples:
    """J responses to each of X prompts, drawn from M of K candidates: J = M·`samples`.

    Those of one candidate lie together, in the candidates' order; the initial model has none, as
    its sample is the pool. `tokens_XJT` holds zeros after a response's end. `log_probs_KXJ`:
    log π_k(y_j|x) of all candidates, float64 nats.
    """

    tokens_XJT: Tensor
    lengths_XJ: Tensor
    texts: list[list[str]]
    log_probs_KXJ: Tensor

    def flat_texts(self, prompts: Sequence[str]) -> tuple[list[str], list[str]]:
        """(prompts, responses), each of length X·J, for a reward model."""
        pairs = [
            (prompt, response)
            for prompt, responses in zip(prompts, self.texts, strict=True)
            for response in responses
        ]
        return [prompt for prompt, _ in pairs], [response for _, response in pairs]


def sample_candidates(
    base: BaseModel,
    decoder: Decoder,
    adapters: StackedAdapters,
    places: Sequence[int | None],
    prompts: list[list[int]],
    *,
    samples: int,
    max_new_tokens: int,
    labels: tuple[object, ...],
    first_index: int = 0,
    on_prompt: Callable[[int, int], None] = lambda done, total: None,
) -> CandidateSamples:
    """Draw `samples` responses a prompt from each candidate with an adapter.

    `places` is the stacked world of each of the K candidates, None for the initial model; `prompts`
    are token ids, and the first of them has index `first_index` in the round. `labels` seed the
    draws with the index and the candidate's place among the K: the same however prompts are spread
    over workers. Candidates don't share uniforms as worlds in training do: all are valued on all
    responses anyway, and similar candidates would only draw the same responses again.
    """
    if all(place is None for place in places):
        raise ValueError(f"none of the {len(places)} candidates has an adapter to sample from")
    per_call = max(1, MAX_ROWS // samples)
    parts = []
    for start in range(0, len(prompts), per_call):
        block = prompts[start : start + per_call]
        indices = range(first_index + start, first_index + start + len(block))
        shape = (samples, max_new_tokens)
        tokens_XJT, lengths_XJ = _draw(
            base, decoder, adapters, places, block, [(*labels, x) for x in indices], shape
        )
        log_probs = ResponseLogProbs(decoder, adapters, block, tokens_XJT, lengths_XJ)
        parts.append((tokens_XJT, lengths_XJ, log_probs(list(places))))
        on_prompt(start + len(block), len(prompts))
    tokens_XJT = torch.cat([part[0] for part in parts])
    lengths_XJ = torch.cat([part[1] for part in parts])
    return CandidateSamples(
        tokens_XJT=tokens_XJT,
        lengths_XJ=lengths_XJ,
        texts=[response_texts(base, *pair) for pair in zip(tokens_XJT, lengths_XJ, strict=True)],
        log_probs_KXJ=torch.cat([part[2] for part in parts], 1),
    )


def _draw(
    base: BaseModel,
    decoder: Decoder,
    adapters: StackedAdapters,
    places: Sequence[int | None],
    prompts: list[list[int]],
    labels_P: list[tuple[object, ...]],
    shape: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Tokens (P, M·samples, T) and lengths (P, M·samples) of all candidates with an adapter."""
    tokens, lengths = [], []
    for candidate, place in enumerate(places):
        if place is None:
            continue
        drawn = draw(
            decoder,
            prompts,
            partial(_uniforms, shape, labels_P, candidate),
            base.eos_token_ids,
            adapters=adapters,
            world=place,
        )
        tokens.append(drawn.tokens_PJT)
        lengths.append(drawn.lengths_PJ)
    return torch.cat(tokens, 1), torch.cat(lengths, 1)


def _uniforms(
    shape: tuple[int, int], labels_P: list[tuple[object, ...]], candidate: int, p: int
) -> Tensor:
    return uniforms(shape, *labels_P[p], candidate)
