"""How far a round's reward models agree: what the operator, and nobody else, is told."""

from collections.abc import Callable

import numpy as np
import pytest
from conftest import GROUP_IDS, TASTES, TinyRound
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from workers.rewards.agreement import agreement
from workers.rewards.ranks import average_ranks, spearman
from workers.stages.solve import load_game

VALUES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=2, max_size=12)


@given(VALUES)
def test_ranks_are_scipy_s(values: list[float]) -> None:
    np.testing.assert_array_equal(average_ranks(np.array(values)), rankdata(values))


@given(st.integers(2, 30), st.integers(0, 10_000))
def test_spearman_is_scipy_s(length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 5, (2, length)).astype(float)
    found = spearman(one, other)
    if found is None:
        assert len(set(one)) == 1 or len(set(other)) == 1
    else:
        assert found == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)


def test_agreement_is_the_weighted_mean_over_prompts_on_which_both_prefer_something() -> None:
    rng = np.random.default_rng(0)
    rewards_NXJ = rng.random((3, 4, 8))
    rewards_NXJ[0, 1] = 0.5  # indifferent on one prompt
    rewards_NXJ[2] = 0.0  # and on all
    weights_X = np.array([0.1, 0.2, 0.3, 0.4])
    found = agreement(rewards_NXJ, weights_X)
    each = [spearmanr(rewards_NXJ[0, x], rewards_NXJ[1, x]).statistic for x in (0, 2, 3)]
    assert found[0][1] == pytest.approx(np.average(each, weights=weights_X[[0, 2, 3]]))
    assert found[1][0] == found[0][1]
    assert (found[0][0], found[1][1]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found[2] == [None, None, None]


def test_what_a_group_adds_to_a_whole_prompt_changes_no_agreement() -> None:
    rng = np.random.default_rng(1)
    rewards_NXJ = rng.random((2, 5, 6))
    moved_NXJ = rewards_NXJ + np.array([0, 7])[:, None, None] * rng.random(5)[:, None]
    assert agreement(moved_NXJ, np.full(5, 0.2)) == agreement(rewards_NXJ, np.full(5, 0.2))


def test_the_outcome_tells_how_far_the_round_s_reward_models_agree(
    tiny_round: Callable[..., TinyRound],
) -> None:
    made = tiny_round(counterfactuals="closed_form")
    made.run()
    found = made.outcome().outcome.reward_agreement
    assert found is not None
    assert found.group_ids == list(GROUP_IDS)
    game, _ = load_game(made.context())
    each = [spearmanr(game.rewards_NXJ[0, x], game.rewards_NXJ[1, x]).statistic for x in range(4)]
    assert found.spearman[0][1] == pytest.approx(np.mean(each))
    alone = tiny_round(counterfactuals="closed_form", sizes=(3,), tastes=TASTES[:1])
    alone.run()
    assert alone.outcome().outcome.reward_agreement is None
