"""Best of n: the order of the scores, and how far such a choice is from the model at most."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_schemas.errors import BadReport
from workers.rewards.best_of_n import kl_bound, rerank


@pytest.mark.parametrize("samples", [1, 2, 4, 16])
def test_the_bound_is_the_divergence_where_no_two_samples_are_alike(samples: int) -> None:
    """With continuous scores the best of n has density n·uⁿ⁻¹ at the model's quantile u ∈ [0, 1]:
    KL = ∫ n·uⁿ⁻¹·log(n·uⁿ⁻¹) du, here by the midpoint rule."""
    u = (np.arange(2_000_000) + 0.5) / 2_000_000
    density = samples * u ** (samples - 1)
    assert kl_bound(samples) == pytest.approx(np.mean(density * np.log(density)), abs=1e-5)


@given(
    st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6),
    st.integers(1, 12),
)
def test_no_best_of_n_of_a_few_responses_is_further_than_the_bound(
    weights: list[float], samples: int
) -> None:
    """Exact: the best of n is response j with F_jⁿ − F_{j−1}ⁿ, F the distribution by score."""
    base = np.array(weights) / np.sum(weights)
    upper = np.minimum(np.cumsum(base), 1.0)
    best = np.diff(np.r_[0.0, upper**samples])
    seen = best > 0
    divergence = float(np.sum(best[seen] * np.log(best[seen] / base[seen])))
    assert divergence <= kl_bound(samples) + 1e-9


def test_one_sample_is_the_model_itself_and_none_is_refused() -> None:
    assert kl_bound(1) == 0.0
    assert kl_bound(2) == pytest.approx(math.log(2) - 0.5)
    with pytest.raises(ValueError, match="best of 0"):
        kl_bound(0)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_the_best_comes_first_and_equals_keep_their_places(scores: list[float]) -> None:
    order = rerank(scores)
    assert sorted(order) == list(range(len(scores)))
    assert order == sorted(range(len(scores)), key=lambda place: -scores[place])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_has_no_place(bad: float) -> None:
    with pytest.raises(BadReport, match=r"response 1 is .*1 of 3 are not finite"):
        rerank([0.0, bad, 1.0])
