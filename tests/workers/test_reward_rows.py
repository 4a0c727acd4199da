"""Rows that share a prompt, and states that are kept: both change nothing but the time."""

import numpy as np
import pytest
import torch
from fine_tuned_support import planted, texts, tiny_base

from workers.reward_training import rows
from workers.reward_training.fine_tuning import examples_of, sequences_of
from workers.reward_training.frozen_states import FrozenStates
from workers.reward_training.network import RewardNetwork
from workers.reward_training.rows import TokenSequence, batches, tokenized


def test_what_does_not_fit_is_cut_from_the_prompts_beginning_then_the_responses_end() -> None:
    base = tiny_base()
    (red, green, blue, sun, rain), end = range(1, 6), 0

    def cut(prompt: str, response: str) -> TokenSequence:
        return tokenized(base, [prompt], [response], 8)[0]

    assert cut("red green", "blue") == TokenSequence((red, green), (blue, end))
    long = "red green blue sun rain red green blue"
    assert cut(long, "sun sun") == TokenSequence((sun, rain, red, green, blue), (sun, sun, end))
    assert cut("red", long) == TokenSequence((red,), (red, green, blue, sun, rain, red, end))
    assert cut(long, long) == TokenSequence((red, green, blue), (red, green, blue, sun, end))


def test_rows_with_a_shared_prompt_give_what_each_sequence_gives_alone() -> None:
    base = tiny_base()
    prompts, responses = texts(60)
    sequences = tokenized(base, prompts, responses, 64)
    packed = list(batches(sequences, 64))
    assert max(len(row.responses) for batch in packed for row in batch.rows) > 3
    assert sorted((each for batch in packed for each in batch.sequences), key=str) == sorted(
        set(sequences), key=str
    )
    network = RewardNetwork(base)
    network.head_H = torch.randn(48, generator=torch.Generator().manual_seed(0))
    for each, score in zip(sequences, network.score(sequences), strict=True):
        with torch.no_grad():
            tokens = torch.tensor([[*each.prompt, *each.response]])
            last = base.model.model(tokens).last_hidden_state[0, -1]
        assert float(last @ network.head_H) == pytest.approx(score, abs=1e-4)


def test_kept_states_give_the_scores_that_the_whole_network_gives() -> None:
    base, network = tiny_base(), RewardNetwork(tiny_base())
    network.head_H = torch.randn(48, generator=torch.Generator().manual_seed(0))
    sequences = sequences_of(examples_of(base, planted(40), 64))
    for layers in (0, 1, 2):
        states = FrozenStates(network, layers, [sequences])
        kept = network.score(sequences[::3], states)
        np.testing.assert_allclose(kept, network.score(sequences[::3]), atol=1e-5)
    with pytest.raises(KeyError):
        network.score([TokenSequence((1,), (9, 9, 0))], states)


def test_the_end_of_a_turn_is_the_tokenizers_where_generation_knows_several() -> None:
    base = tiny_base()
    assert rows.end_token(base) == base.tokenizer.eos_token_id == 0
