"""What a report card says of a reward model, against figures that are computed another way."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import log_loss

from api_schemas.datasets import DataValidation
from api_schemas.errors import BadReport
from api_schemas.report_cards import Curve, Figure, ReportCard, Series
from workers.preferences.comparison import Comparison, Preferences, Split
from workers.rewards.assessment import accuracy, assess, assess_ready, ranked_right
from workers.rewards.calibration import calibration
from workers.rewards.interfaces import Fit
from workers.rewards.score_distribution import score_distribution

COUNTS = DataValidation(lines=9, pairs=5, prompts=4, same_texts=1, duplicates=2, empty_replies=1)


class Numbers:
    """Scores a response by the number that it begins with."""

    uses_model = False

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Any:
        return np.array([float(text.split()[0]) for text in responses]) * self.scale


def pair(prompt: str, chosen: float, rejected: float, **more: Any) -> Comparison:
    return Comparison(prompt, f"{chosen}", f"{rejected}", **more)


def card_of(comparisons: Sequence[Comparison], scale: float = 1.0, **more: Any) -> ReportCard:
    split = Split([], comparisons)
    return assess(Fit(Numbers(scale), **more), split, COUNTS, None)


def drawn_by_votes(rng: np.random.Generator, count: int, votes: int = 9) -> list[Comparison]:
    """Pairs whose votes are drawn from σ of the difference: the truth of a calibrated model."""
    found = []
    for k in range(count):
        one, other = rng.normal(size=2) * 1.5
        share = rng.binomial(votes, 1 / (1 + math.exp(other - one))) / votes
        if share < 0.5:
            one, other, share = other, one, 1 - share
        found.append(pair(f"p{k}", one, other, share=share, votes=votes))
    return found


def test_accuracy_is_that_of_the_majority_and_ties_of_votes_are_left_out() -> None:
    comparisons = [
        pair("a", 2, 1),
        pair("a", 1, 2, share=0.6, votes=5),
        pair("b", 3, 3),
        pair("c", 9, 0, share=0.5, votes=4),
    ]
    found = accuracy(Numbers(), comparisons)
    assert found is not None
    assert (found.pairs, found.prompts, found.value) == (3, 2, 0.5)
    assert ranked_right(Numbers(), comparisons).tolist() == [1.0, 0.0, 0.5, 1.0]
    assert accuracy(Numbers(), comparisons[3:]) is None


def test_a_perfectly_calibrated_model_errs_by_chance_alone() -> None:
    """The mean of 40 samples' error is what `chance` says; no other scale has less log loss."""
    rng = np.random.default_rng(2)
    found = [card_of(drawn_by_votes(rng, 500)).calibration for _ in range(40)]
    errors, chances = ([getattr(each, name) for each in found] for name in ("error", "chance"))
    assert np.mean(errors) == pytest.approx(np.mean(chances), rel=0.15)
    assert np.mean(chances) < 0.025
    # The same scores at a third or three times the scale are under- or overconfident.
    for scale in (1 / 3, 3.0):
        wrong = card_of(drawn_by_votes(rng, 500), scale).calibration
        assert wrong is not None
        assert wrong.error > 4 * wrong.chance
        assert wrong.log_loss > np.mean([each.log_loss for each in found])


def test_the_calibration_error_and_the_log_loss_are_the_textbook_s() -> None:
    rng = np.random.default_rng(3)
    comparisons = drawn_by_votes(rng, 400, votes=1)
    card = card_of(comparisons)
    assert card.calibration is not None
    difference = np.array([float(c.chosen) - float(c.rejected) for c in comparisons])
    probability = 1 / (1 + np.exp(-difference))
    assert card.calibration.log_loss == pytest.approx(
        log_loss(np.ones(400), probability, labels=[0, 1])
    )
    confidence = np.maximum(probability, 1 - probability)
    right = (difference > 0).astype(float)
    order = np.argsort(confidence)
    expected = sum(
        len(part) / 400 * abs(right[part].mean() - confidence[part].mean())
        for part in np.split(order, 10)
    )
    assert card.calibration.error == pytest.approx(expected)
    assert [each.pairs for each in card.calibration.bins] == [40] * 10


def test_equal_predictions_share_a_bin_and_indifference_is_never_wrong() -> None:
    indifferent = calibration(np.zeros(30), np.ones(30), np.ones(30))
    assert indifferent is not None
    assert (indifferent.error, indifferent.chance) == (0.0, 0.0)
    assert indifferent.log_loss == pytest.approx(math.log(2))
    assert [each.pairs for each in indifferent.bins] == [30]
    two = calibration(np.repeat([1.0, -2.0], 50), np.full(100, 0.9), np.ones(100))
    assert two is not None
    assert [each.pairs for each in two.bins] == [50, 50]
    assert [each.observed for each in two.bins] == pytest.approx([0.9, 0.1])
    assert calibration(np.zeros(0), np.zeros(0), np.zeros(0)) is None


def test_a_model_of_length_alone_has_a_length_correlation_of_one() -> None:
    rng = np.random.default_rng(4)
    lengths = rng.integers(1, 40, (200, 2))
    comparisons = [
        Comparison(f"p{k}", f"{a} " + "w " * (a - 1), f"{b} " + "w " * (b - 1))
        for k, (a, b) in enumerate(lengths)
    ]
    assert card_of(comparisons).length_correlation == pytest.approx(1.0)
    assert card_of(comparisons, scale=-0.5).length_correlation == pytest.approx(-1.0)


def test_the_length_correlation_is_spearman_s_from_both_sides() -> None:
    """Chosen responses are all longer by about 10 and score more by about 1: from the chosen side
    alone nothing of it would be seen."""
    rng = np.random.default_rng(5)
    scores, lengths = rng.normal(1, 0.1, 150), rng.integers(8, 13, 150)
    comparisons = [
        Comparison(f"p{k}", f"{s} " + "w " * int(n), "0.0")
        for k, (s, n) in enumerate(zip(scores, lengths, strict=True))
    ]
    found = card_of(comparisons).length_correlation
    both = spearmanr(np.r_[scores, -scores], np.r_[lengths, -lengths]).statistic
    assert found == pytest.approx(both)
    assert abs(spearmanr(scores, lengths).statistic) < 0.2 < 0.6 < found


def test_the_score_distribution_is_numpy_s() -> None:
    rng = np.random.default_rng(6)
    chosen, rejected = rng.normal(1, 2, 300), rng.normal(0, 1, 300)
    decided = [True] * 250 + [False] * 50
    found = score_distribution(chosen, rejected, decided)
    assert found is not None
    every = np.r_[chosen, rejected]
    assert found.mean == pytest.approx(every.mean())
    assert found.standard_deviation == pytest.approx(every.std())
    counts, edges = np.histogram(chosen[:250], bins=20, range=(every.min(), every.max()))
    assert found.edges == pytest.approx(edges.tolist())
    assert found.chosen == counts.tolist()
    assert sum(found.rejected) == 250


@pytest.mark.parametrize("scale", [1e308, 1e-320])
def test_scores_of_any_size_give_finite_figures(scale: float) -> None:
    """Differences, squares and sums of such scores are beyond a float."""
    comparisons = [pair(f"p{k}", (-1) ** k, -((-1) ** k)) for k in range(40)]
    card = card_of(comparisons, scale)
    assert card.accuracy is not None
    assert card.accuracy.value == 0.5
    assert card.scores is not None
    assert card.scores.standard_deviation == pytest.approx(scale, rel=1e-3)
    assert sum(card.scores.chosen) == sum(card.scores.rejected) == 40
    assert card.model_dump_json()
    constant = card_of([pair(f"p{k}", 1.0, 1.0) for k in range(20)], scale)
    assert constant.accuracy is not None
    assert constant.accuracy.value == 0.5
    assert constant.length_correlation is None
    assert "scores both responses of every pair alike" in (constant.note or "")


def test_a_score_that_is_no_number_is_named_and_never_measured() -> None:
    comparisons = [pair("p", 1, 0), pair("the prompt", math.nan, 0)]
    with pytest.raises(BadReport, match=r"nan for the prompt 'the prompt' .* 1 of 4") as caught:
        card_of(comparisons)
    assert caught.value.code == "bad_report"
    with pytest.raises(BadReport, match="inf"):
        card_of([pair("p", 1, math.inf)])

    class Short(Numbers):
        def score(self, prompts: Any, responses: Any) -> Any:
            return np.zeros(1)

    with pytest.raises(BadReport, match=r"shape \(1,\) for 2 responses"):
        accuracy(Short(), [pair("p", 1, 0)])


def test_counts_figures_and_curves_are_handed_on() -> None:
    figure = Figure(name="disagreement", value=0.25)
    curve = Curve(
        title="t", x_label="x", y_label="y", x=[0, 1], series=[Series(name="s", y=[1, 2])]
    )
    card = card_of([pair("p", 1, 0)], figures=[figure], curves=[curve])
    assert (card.n_pairs, card.n_prompts, card.n_duplicates_dropped) == (5, 4, 2)
    assert (card.n_ties_dropped, card.n_unusable_dropped, card.n_holdout) == (1, 1, 1)
    assert (card.figures, card.curves) == ([figure], [curve])
    with pytest.raises(ValueError, match="series 's': 1 y for 2 x"):
        Curve(title="t", x_label="x", y_label="y", x=[0, 1], series=[Series(name="s", y=[1])])


def test_the_measured_model_is_described_and_not_the_one_fitted_to_all_data() -> None:
    fit = Fit(Numbers(1.0), measured=Numbers(-1.0))
    card = assess(fit, Split([], [pair("p", 1, 0), pair("q", 1, 0)]), COUNTS, None)
    assert card.accuracy is not None
    assert card.accuracy.value == 0.0


def test_other_data_on_trained_prompts_is_left_out_and_said() -> None:
    train, holdout = [pair("seen", 1, 0)], [pair("held out", 1, 0)]
    other = [pair("seen", 0, 1), pair("new", 1, 0), pair("newer", 1, 0, share=0.5)]
    evaluation = Preferences(other, COUNTS)
    card = assess(Fit(Numbers()), Split(train, holdout), COUNTS, evaluation)
    assert card.out_of_distribution is not None
    assert (card.out_of_distribution.pairs, card.out_of_distribution.value) == (1, 1.0)
    assert "1 of the evaluation data's 3 pairs are on trained prompts" in (card.note or "")
    nothing_left = assess(
        Fit(Numbers()), Split(train, holdout), COUNTS, Preferences(other[:1], COUNTS)
    )
    assert nothing_left.out_of_distribution is None
    assert "no pair is left to rank" in (nothing_left.note or "")


def test_what_is_missing_is_null_with_its_reason() -> None:
    nothing = assess(Fit(Numbers()), Split([pair("p", 1, 0)], [], "too few"), COUNTS, None)
    assert nothing.accuracy is nothing.calibration is nothing.scores is None
    assert nothing.length_correlation is None
    assert nothing.note == "too few"
    ties = card_of([pair("p", 1, 0, share=0.5, votes=2)])
    assert ties.accuracy is None
    assert ties.calibration is not None
    assert "all held-out pairs have tied votes" in (ties.note or "")


def test_a_model_that_needs_no_fitting_is_measured_on_all_the_data() -> None:
    card = assess_ready(Numbers(), Preferences([pair("p", 1, 0), pair("q", 0, 1)], COUNTS))
    assert (card.n_train, card.n_holdout) == (0, 2)
    assert card.accuracy is not None
    assert card.accuracy.value == 0.5


def test_the_true_model_reaches_the_noise_ceiling_and_no_more() -> None:
    """People who prefer with σ(difference) agree with the truth E max(σ, 1 − σ) of the time."""
    rng = np.random.default_rng(8)
    comparisons = drawn_by_votes(rng, 4000, votes=1)
    gaps = np.abs([float(c.chosen) - float(c.rejected) for c in comparisons])
    ceiling = float(np.mean(1 / (1 + np.exp(-gaps))))
    found = card_of(comparisons).accuracy
    assert found is not None
    assert found.standard_error is not None
    assert abs(found.value - ceiling) < 3 * found.standard_error
    assert found.low < ceiling < found.high
