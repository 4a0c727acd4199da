"""A response is decided by its prompt and its own random numbers, whatever is drawn beside it."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import torch
from torch import Tensor
from training_support import tiny_base

from api_schemas.training import PolicyGradient
from workers.decoder import Decoder
from workers.pool import refill
from workers.pool.randomness import uniforms
from workers.pool.responses import Responses
from workers.pool.sampling import sample
from workers.training.stacked_lora import StackedAdapters

PROMPTS = ("sun", "green rain", "blue sun rain", "rain rain sun red sun", "red")
SAMPLES, TOKENS = 9, 12
"""Responses of the tiny model have 6 tokens on average, of at most 12."""


def _prompts() -> list[list[int]]:
    return [tiny_base().prompt_tokens(prompt) for prompt in PROMPTS]


def _uniforms(tokens: int) -> Callable[[int], Tensor]:
    return lambda p: uniforms((SAMPLES, tokens), "refill", p)


def _drawn(tokens: int = TOKENS, **options: object) -> Responses:
    base = tiny_base()
    return refill.draw(
        Decoder(base.model), _prompts(), _uniforms(tokens), base.eos_token_ids, **options
    )


def _in_one_batch(
    tokens: int = TOKENS, adapters: StackedAdapters | None = None, world: int | None = None
) -> Responses:
    """By the sampler of rollouts, which refills nothing."""
    base, draw = tiny_base(), _uniforms(tokens)
    found = sample(
        Decoder(base.model),
        adapters,
        None if world is None else [world],
        _prompts(),
        torch.stack([draw(p) for p in range(len(PROMPTS))]),
        base.eos_token_ids,
    )
    return Responses(found.tokens_KPJT[0], found.lengths_KPJ[0])


def _equal(one: Responses, other: Responses) -> bool:
    return torch.equal(one.tokens_PJT, other.tokens_PJT) and torch.equal(
        one.lengths_PJ, other.lengths_PJ
    )


@pytest.mark.parametrize("max_rows", [1, 7, 256])
@pytest.mark.parametrize("tokens", [1, 2, TOKENS])
def test_a_response_is_the_same_however_many_are_drawn_at_once(max_rows: int, tokens: int) -> None:
    assert _equal(_drawn(tokens, max_rows=max_rows), _in_one_batch(tokens))


def test_a_response_is_the_same_without_the_other_prompts() -> None:
    base = tiny_base()
    alone = refill.draw(
        Decoder(base.model),
        _prompts()[2:3],
        lambda _: _uniforms(TOKENS)(2),
        base.eos_token_ids,
    )
    together = _drawn(max_rows=7)
    assert torch.equal(alone.tokens_PJT[0], together.tokens_PJT[2])
    assert torch.equal(alone.lengths_PJ[0], together.lengths_PJ[2])


@pytest.fixture
def adapters() -> Iterator[StackedAdapters]:
    settings = PolicyGradient(lora_rank=2, lora_alpha=4, top_layers=1)
    generator = torch.Generator().manual_seed(5)
    with closing(StackedAdapters.announced(tiny_base().model, settings, worlds=2)) as made:
        with torch.no_grad():
            for b_Wor in made.b.values():
                b_Wor.copy_(torch.randn(b_Wor.shape, generator=generator))
        yield made


def test_an_adapter_s_responses_are_those_of_its_world(adapters: StackedAdapters) -> None:
    tuned = _drawn(adapters=adapters, world=1, max_rows=7)
    assert _equal(tuned, _in_one_batch(adapters=adapters, world=1))
    assert not _equal(tuned, _in_one_batch())
    assert _equal(_drawn(adapters=adapters, max_rows=7), _in_one_batch())


def _counted(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[int]]:
    """From here on: how many rows each step computes, and how many prompts are computed at once."""
    rows: list[int] = []
    prompts: list[int] = []
    run = Decoder.run

    def counted(self: Decoder, hidden_RSH: Tensor, *others: object) -> Tensor:
        (rows if hidden_RSH.shape[1] == 1 else prompts).append(len(hidden_RSH))
        return run(self, hidden_RSH, *others)

    monkeypatch.setattr(Decoder, "run", counted)
    return rows, prompts


def test_no_token_is_computed_for_a_response_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every token but the last is fed once, and every prompt is computed once, two at a time."""
    rows, prompts = _counted(monkeypatch)
    longest = max(map(len, _prompts()))
    monkeypatch.setattr(refill, "_PREFILL_TOKENS", 2 * longest)
    drawn = _drawn(max_rows=7)
    assert sum(rows) == int((drawn.lengths_PJ - 1).sum())
    assert max(rows) == 7
    assert sum(prompts) == len(PROMPTS)
    assert max(prompts) >= 2
    assert len(prompts) > 1
    # A batch drawn to its end would feed 11 tokens of each of the 45 responses.
    assert sum(rows) < 0.6 * 11 * 45


def test_fewer_rows_are_drawn_at_once_where_the_cache_would_outgrow_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, _ = _counted(monkeypatch)
    config = tiny_base().model.config
    slots = TOKENS - 1 + max(map(len, _prompts()))
    size = config.hidden_size // config.num_attention_heads
    row = slots * config.num_hidden_layers * 2 * config.num_key_value_heads * size * 4
    monkeypatch.setattr(refill, "_CACHE_BYTES", 4 * row)
    drawn = _drawn()
    assert max(rows) == 4
    assert _equal(drawn, _in_one_batch())


def test_progress_counts_prompts_and_ends_with_all_of_them() -> None:
    told: list[tuple[int, int]] = []
    _drawn(max_rows=7, on_prompt=lambda done, total: told.append((done, total)))
    assert told == sorted(set(told))
    assert told[-1] == (5, 5)
