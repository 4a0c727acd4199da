"""What weight averaging is worth on these preferences: figures and curves for the report card."""

from collections.abc import Sequence

import numpy as np

from api_schemas.preference_methods import WeightAveraged
from api_schemas.report_cards import Curve, Figure, Series
from workers.mechanism.arrays import Floats
from workers.reward_training.fine_tuning import Example
from workers.reward_training.network import Report
from workers.reward_training.rows import TokenSequence
from workers.reward_training.weight_averaging import (
    Members,
    Starts,
    all_scores,
    flip_labels,
    ranked_as_labelled,
    train_members,
)
from workers.rewards.interfaces import Progress, counting
from workers.rewards.intervals import mean_figure

_SHARES = [step / 10 for step in range(11)]


def held_out_figures(
    starts: Starts, members: Members, examples: Sequence[Example], progress: Progress
) -> list[Figure]:
    """Held-out accuracy of every member, their mean, WARM and the prediction ensemble."""
    right_by = _compared(starts, members, examples, counting(progress, "members measured"))
    singles = [name for name in right_by if name.startswith("member")]
    figures = [_figure(f"accuracy of {name}", right_by[name], examples) for name in singles]
    return figures + _summary("accuracy of", right_by, examples)


def flipped_figures(
    starts: Starts,
    examples: Sequence[Example],
    holdout: Sequence[Example],
    method: WeightAveraged,
    progress: Progress,
) -> list[Figure]:
    """The comparison under flipped labels: members are trained anew on a share of wrong ones.

    A flipped label is memorised if the model ranks its pair as the wrong label says.
    """

    def tell(what: str, done: int, total: int) -> None:
        progress(f"{what}, labels flipped", done, total)

    labelled, places = flip_labels(examples, method.flipped_share, method.seed)
    members = train_members(starts, labelled, method, tell)
    wrong = [labelled[place] for place in places]
    figures = [Figure(name="labels flipped", value=len(wrong))]
    for name, measured in (
        ("labels flipped: accuracy of", holdout),
        ("labels flipped: share memorised by", wrong),
    ):
        if measured:
            right_by = _compared(starts, members, measured, counting(tell, name))
            figures += _summary(name, right_by, measured)
    return figures


def connectivity_curve(
    starts: Starts, members: Members, examples: Sequence[Example], progress: Progress
) -> Curve:
    """Held-out accuracy on the straight path between the first two members.

    Linear mode connectivity: acc((1−λ)·θ₁ + λ·θ₂) ≥ (1−λ)·acc(θ₁) + λ·acc(θ₂), the chord
    (Ramé et al. 2024, observation 1).
    """
    path = [members.between(share) for share in _SHARES]
    report = counting(progress, "models between two members")
    rights = [
        ranked_as_labelled(scores, examples)
        for scores in all_scores(starts, path, examples, report)
    ]
    figures = [_figure("", right, examples) for right in rights]
    values = [figure.value for figure in figures]
    errors = [figure.standard_error for figure in figures]
    chord = [(1 - share) * values[0] + share * values[-1] for share in _SHARES]
    known = [error for error in errors if error is not None]
    return Curve(
        title="Between the first two members: (1 − λ)·first + λ·second, in weight space",
        x_label="λ",
        y_label="held-out accuracy",
        x=_SHARES,
        series=[
            Series(
                name="interpolated",
                y=values,
                standard_errors=known if len(known) == len(values) else None,
            ),
            Series(name="chord", y=chord),
        ],
    )


def _compared(
    starts: Starts, members: Members, examples: Sequence[Example], report: Report
) -> dict[str, Floats]:
    """1 where a pair is ranked as labelled: by each member, in their mean, by WARM and ensemble."""
    *singles, average = all_scores(starts, [*members.adapters, members.average], examples, report)
    ensemble = _mean_scores(singles)
    rights = [ranked_as_labelled(scores, examples) for scores in singles]
    return {
        **{f"member {place}": right for place, right in enumerate(rights, start=1)},
        "the members on average": np.mean(rights, axis=0),
        "the weight average": ranked_as_labelled(average, examples),
        "the prediction ensemble": ranked_as_labelled(ensemble, examples),
    }


def _mean_scores(found: Sequence[dict[TokenSequence, float]]) -> dict[TokenSequence, float]:
    return {each: sum(scores[each] for scores in found) / len(found) for each in found[0]}


def _summary(what: str, right_by: dict[str, Floats], examples: Sequence[Example]) -> list[Figure]:
    names = ["the members on average", "the weight average", "the prediction ensemble"]
    figures = [_figure(f"{what} {name}", right_by[name], examples) for name in names]
    for other in (names[0], names[2]):
        gain = right_by["the weight average"] - right_by[other]
        figures.append(_figure(f"{what} the weight average, less {other}", gain, examples))
    return figures


def _figure(name: str, values: Floats, examples: Sequence[Example]) -> Figure:
    return mean_figure(name, values, [each.prompt for each in examples])
