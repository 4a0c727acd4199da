"""Packed log-probabilities are the model's own, and little is computed for padding."""

from contextlib import closing

import pytest
import torch
from torch import Tensor
from training_support import tiny_base

from api_schemas.training import PolicyGradient
from workers.decoder import Decoder
from workers.pool import refill
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.randomness import uniforms
from workers.pool.responses import Responses
from workers.training.stacked_lora import StackedAdapters

PROMPTS = ("red sun", "blue sun rain rain", "green")
SAMPLES, TOKENS = 40, 14


def _prompts() -> list[list[int]]:
    return [tiny_base().prompt_tokens(prompt) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def drawn() -> Responses:
    """Responses of 1 to 14 tokens."""
    base = tiny_base()
    return refill.draw(
        Decoder(base.model),
        _prompts(),
        lambda p: uniforms((SAMPLES, TOKENS), "log-probs", p),
        base.eos_token_ids,
    )


def test_packed_log_probabilities_are_those_of_each_response_alone(drawn: Responses) -> None:
    base = tiny_base()
    packed = ResponseLogProbs(
        Decoder(base.model), None, _prompts(), drawn.tokens_PJT, drawn.lengths_PJ
    )
    expected_PJ = torch.stack(
        [
            torch.stack([_alone(prompt, t[:n]) for t, n in zip(tokens, lengths, strict=True)])
            for prompt, tokens, lengths in zip(
                _prompts(), drawn.tokens_PJT, drawn.lengths_PJ.tolist(), strict=True
            )
        ]
    )
    torch.testing.assert_close(packed([None])[0], expected_PJ, atol=1e-4, rtol=0)


@torch.no_grad()
def _alone(prompt: list[int], response: Tensor) -> Tensor:
    sequence = torch.cat([torch.tensor(prompt), response])[None]
    log_probs_SV = tiny_base().model(input_ids=sequence).logits[0].double().log_softmax(-1)
    places = torch.arange(len(prompt) - 1, len(prompt) + len(response) - 1)
    return log_probs_SV[places, response].sum()


def test_what_is_kept_between_calls_changes_nothing(drawn: Responses) -> None:
    settings = PolicyGradient(lora_rank=2, lora_alpha=4, top_layers=1)
    with closing(StackedAdapters.announced(tiny_base().model, settings, worlds=2)) as adapters:
        with torch.no_grad():
            for b_Wor in adapters.b.values():
                b_Wor[1] = 0.5
        found = [
            ResponseLogProbs(
                Decoder(tiny_base().model),
                adapters,
                _prompts(),
                drawn.tokens_PJT,
                drawn.lengths_PJ,
                keep_hidden=keep,
            )
            for keep in (False, True)
        ]
        once, kept = ([each([None, 0, 1]) for _ in range(2)] for each in found)
        kl = [each.kl(1) for each in found]
    assert torch.equal(once[0], kept[0])
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kl[0], kl[1])
    # World 0 has not been trained; world 1 is another policy.
    torch.testing.assert_close(once[0][1], once[0][0], atol=1e-6, rtol=0)
    assert float((once[0][2] - once[0][0]).abs().max()) > 0.1


def test_a_row_is_as_wide_as_its_own_longest_response(
    drawn: Responses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padded to the limit the responses would take 13 slots each."""
    slots: list[int] = []
    run = Decoder.run

    def counted(self: Decoder, hidden_RSH: Tensor, *others: object) -> Tensor:
        slots.append(hidden_RSH.shape[1])
        return run(self, hidden_RSH, *others)

    monkeypatch.setattr(Decoder, "run", counted)
    monkeypatch.setattr("workers.pool.logprobs.ROW_TOKENS", 56)
    packed = ResponseLogProbs(
        Decoder(tiny_base().model), None, _prompts()[:1], drawn.tokens_PJT, drawn.lengths_PJ
    )
    packed([None])
    rows = len(slots) // 2  # the bottom layers and the top ones
    used = sum(slots) // 2 - rows * len(_prompts()[0])
    needed = int((drawn.lengths_PJ[0] - 1).sum())
    assert needed <= used <= 1.25 * needed
    assert used < 0.7 * SAMPLES * (TOKENS - 1)
