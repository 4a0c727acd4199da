"""Intervals for means over pairs that come in prompts: honest with few prompts, sharp with many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.rewards.intervals import clustered_mean, clustered_standard_error


def test_the_standard_error_counts_pairs_of_one_prompt_as_one_observation() -> None:
    # 4 prompts, mean ½: deviations ±½. Each pair doubled: cluster sums ±1, sqrt(4/3 · 4)/8.
    values, prompts = np.array([1.0, 0, 1, 0]), ["a", "b", "c", "d"]
    assert clustered_standard_error(values, prompts) == pytest.approx(np.sqrt(4 / 3 * 1) / 4)
    doubled = clustered_standard_error(np.repeat(values, 2), list(np.repeat(prompts, 2)))
    assert doubled == pytest.approx(np.sqrt(4 / 3 * 4) / 8)
    assert clustered_standard_error(values, ["a"] * 4) is None


@pytest.mark.parametrize("accuracy", [0.6, 0.85])
@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_the_interval_holds_the_truth_about_95_times_in_100(
    accuracy: float, correlation: float
) -> None:
    """60 prompts of 1 to 8 pairs whose chance of being right is a beta draw of the prompt's.

    Of 500 experiments, binomial: 0.95 ± 3·sqrt(0.95·0.05/500) = 0.92 … 0.98, and the wider of two
    intervals holds it a little more often. Taking pairs as independent fails at correlation 0.3.
    """
    rng = np.random.default_rng(7)
    held, held_naively = 0, 0
    for _ in range(500):
        counts = rng.integers(1, 9, 60)
        chances = np.full(60, accuracy)
        if correlation:
            sureness = (1 - correlation) / correlation
            chances = rng.beta(accuracy * sureness, (1 - accuracy) * sureness, 60)
        values = rng.random(counts.sum()) < np.repeat(chances, counts)
        clusters = [f"p{g}" for g in np.repeat(np.arange(60), counts)]
        found = clustered_mean(values.astype(float), clusters)
        held += found.low <= accuracy <= found.high
        naive = 1.96 * values.std() / np.sqrt(len(values))
        held_naively += abs(values.mean() - accuracy) <= naive
    assert 0.92 <= held / 500 <= 0.985
    if correlation:
        assert held_naively / 500 < 0.88


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_is_not_certain(value: float) -> None:
    """Against Clopper and Pearson: n of n right has the lower limit 0.025^(1/n)."""
    for count in (10, 50, 400):
        found = clustered_mean(np.full(count, value), [f"p{k}" for k in range(count)])
        uncertain = 1 - found.low if value else found.high
        exact = 1 - 0.025 ** (1 / count)
        assert found.standard_error == 0.0
        assert 0.9 * exact <= uncertain <= 1.35 * exact
        assert (found.high if value else 1 - found.low) == pytest.approx(1.0)


def test_many_right_pairs_of_few_prompts_are_worth_a_few() -> None:
    one_each = clustered_mean(np.ones(8), [f"p{k}" for k in range(8)])
    many_each = clustered_mean(np.ones(800), [f"p{k % 8}" for k in range(800)])
    assert many_each.low == pytest.approx(one_each.low)
    # Kish: 79 pairs on one prompt and 1 on another are worth 80²/(79² + 1) = 1.025 prompts.
    uneven = clustered_mean(np.ones(80), ["a"] * 79 + ["b"])
    assert uneven.low < 0.01


def test_a_single_prompt_tells_nothing_of_others() -> None:
    found = clustered_mean(np.ones(50), ["only"] * 50)
    assert (found.value, found.standard_error, found.low, found.high) == (1.0, None, 0.0, 1.0)


def test_no_value_and_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="0 values"):
        clustered_mean(np.zeros(0), [])
    with pytest.raises(ValueError, match="2 values in 1 clusters"):
        clustered_mean(np.zeros(2), ["a"])


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from("abcdefgh")),
        min_size=1,
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_the_interval_is_within_0_and_1_holds_the_value_and_forgets_the_order(
    pairs: list[tuple[float, str]], random: np.random.Generator
) -> None:
    found = clustered_mean(np.array([v for v, _ in pairs]), [c for _, c in pairs])
    assert 0 <= found.low <= found.value <= found.high <= 1
    random.shuffle(pairs)
    again = clustered_mean(np.array([v for v, _ in pairs]), [c for _, c in pairs])
    assert again == found
