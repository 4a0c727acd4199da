"""The drawn page of a report card: every number that the card has, and the same bytes for it."""

import xml.etree.ElementTree as ElementTree

import pytest

from api_schemas.report_cards import (
    Accuracy,
    Calibration,
    CalibrationBin,
    Curve,
    Figure,
    ReportCard,
    ScoreDistribution,
    Series,
)
from workers import plots
from workers.plots.report_card import MAX_CURVES, MAX_FIGURES

SVG = "{http://www.w3.org/2000/svg}"


def accuracy(value: float) -> Accuracy:
    return Accuracy(
        pairs=120, prompts=60, value=value, standard_error=0.03, low=value - 0.06, high=value + 0.05
    )


def curve(index: int) -> Curve:
    series = [
        Series(name="averaged weights", y=[0.6, 0.7], standard_errors=[0.01, 0.02]),
        Series(name="averaged predictions", y=[0.6, 0.65]),
    ]
    return Curve(title=f"Curve {index}", x_label="λ", y_label="accuracy", x=[0, 1], series=series)


def card(**changes: object) -> ReportCard:
    bins = [CalibrationBin(predicted=0.6, observed=0.55, pairs=80)]
    bins.append(CalibrationBin(predicted=0.9, observed=0.8, pairs=40))
    fields = {
        "n_pairs": 600,
        "n_prompts": 300,
        "n_duplicates_dropped": 0,
        "n_ties_dropped": 0,
        "n_train": 480,
        "n_holdout": 120,
        "accuracy": accuracy(0.712),
        "calibration": Calibration(error=0.067, chance=0.031, log_loss=0.602, bins=bins),
        "scores": ScoreDistribution(
            mean=0.5,
            standard_deviation=1.0,
            minimum=-1.0,
            maximum=2.0,
            edges=[-1.0, 0.5, 2.0],
            chosen=[20, 100],
            rejected=[90, 30],
        ),
        "length_correlation": -0.231,
        "out_of_distribution": accuracy(0.593),
        "figures": [Figure(name="disagreement <σ>", value=0.125, standard_error=0.011)],
        "curves": [curve(1)],
        **changes,
    }
    return ReportCard.model_validate(fields)


def texts(drawn: bytes) -> str:
    page = ElementTree.fromstring(drawn)
    return "\n".join("".join(each.itertext()) for each in page.iter(f"{SVG}text"))


def test_the_page_holds_every_figure_of_the_card() -> None:
    found = texts(plots.report_card_figure(card(), "Report card of teachers & pupils"))
    for expected in (
        "Report card of teachers & pupils",
        "0.712  [0.652, 0.762]",
        "0.593  [0.533, 0.643]",
        "120 pairs on 60 prompts",
        "error 0.067 (by chance 0.031)",
        "log loss 0.602",
        "-0.23",
        "disagreement <σ>",
        "0.125 ± 0.011",
        "Curve 1",
        "averaged predictions",
        "600 pairs on 300 prompts; 480 trained on, 120 held out",
    ):
        assert expected in found


def test_the_same_card_is_the_same_bytes_and_has_a_title() -> None:
    first = plots.report_card_figure(card(), "A title")
    assert plots.report_card_figure(card(), "A title") == first
    assert plots.report_card_figure(card(length_correlation=0.5), "A title") != first
    titles = ElementTree.fromstring(first).iter("{http://purl.org/dc/elements/1.1/}title")
    assert "A title" in [each.text for each in titles]


def test_sides_differ_in_more_than_colour() -> None:
    """Rejected and predictions are dashed: it can be read in grey."""
    assert plots.report_card_figure(card(), "t").count(b"stroke-dasharray") >= 4
    plain = card(curves=[], scores=None)
    assert plots.report_card_figure(plain, "t").count(b"stroke-dasharray") < 4


def test_what_is_null_is_not_drawn_and_the_note_says_why() -> None:
    empty = card(
        accuracy=None,
        calibration=None,
        scores=None,
        length_correlation=None,
        out_of_distribution=None,
        figures=[],
        curves=[],
        note="too few pairs: " + "an accuracy needs more of them " * 8,
    )
    found = texts(plots.report_card_figure(empty, "Nothing known"))
    assert "not measured" in found
    assert "too few pairs" in found
    assert "Calibration" not in found
    assert "Spearman" not in found


def test_more_curves_and_figures_than_fit_are_said_to_be_in_the_json() -> None:
    many = card(
        curves=[curve(k) for k in range(MAX_CURVES + 2)],
        figures=[Figure(name=f"figure {k}", value=k) for k in range(MAX_FIGURES + 3)],
    )
    found = texts(plots.report_card_figure(many, "t"))
    assert "3 figures and 2 curves are in the card's JSON only" in found
    assert f"Curve {MAX_CURVES - 1}" in found
    assert f"Curve {MAX_CURVES}\n" not in found


@pytest.mark.parametrize("scale", [1e307, 5e-324, 0.0])
def test_scores_of_any_size_can_be_drawn(scale: float) -> None:
    scores = ScoreDistribution(
        mean=0.0,
        standard_deviation=scale,
        minimum=-scale,
        maximum=scale,
        edges=[-scale, 0.0, scale] if scale else [0.0, 0.0],
        chosen=[1, 2] if scale else [3],
        rejected=[2, 1] if scale else [3],
    )
    assert "Raw scores" in texts(plots.report_card_figure(card(scores=scores), "t"))
