"""Measuring a reward model on comparisons it has not seen: what its report card says."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import ValidationError

from api_schemas.datasets import DataValidation
from api_schemas.errors import BadReport
from api_schemas.report_cards import Accuracy, ReportCard
from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Comparison, Preferences, Split
from workers.rewards.calibration import calibration
from workers.rewards.interfaces import Fit, MeasuresItself, RewardModel
from workers.rewards.intervals import clustered_mean
from workers.rewards.ranks import preferred, spearman
from workers.rewards.score_distribution import score_distribution

_LARGEST = np.finfo(np.float64).max


def assess(
    fit: Fit, split: Split, validation: DataValidation, evaluation: Preferences | None
) -> ReportCard:
    """The card of a model that was fitted to `split.train`.

    Raises BadReport for a score, or a figure of the method, that isn't a finite number.
    """
    model = fit.measured or fit.model
    held_out = score_pairs(model, split.holdout)
    elsewhere, dropped = _out_of_distribution(split, evaluation)
    notes = [split.note, dropped, *_missing(held_out)]
    try:
        return ReportCard(
            n_pairs=validation.pairs,
            n_prompts=validation.prompts,
            n_duplicates_dropped=validation.duplicates,
            n_ties_dropped=validation.same_texts,
            n_tied_votes=validation.tied_votes,
            n_unusable_dropped=validation.empty_replies + validation.not_a_pair,
            n_train=len(split.train),
            n_holdout=len(split.holdout),
            accuracy=_accuracy(held_out),
            calibration=calibration(held_out.differences, held_out.shares, held_out.votes),
            scores=score_distribution(held_out.chosen, held_out.rejected, held_out.decided),
            length_correlation=_length_correlation(held_out),
            out_of_distribution=accuracy(model, elsewhere),
            figures=list(fit.figures),
            curves=list(fit.curves),
            note="; ".join(note for note in notes if note) or None,
        )
    except ValidationError as error:
        detail = error.errors()[0]
        field = ".".join(str(part) for part in detail["loc"])
        raise BadReport(f"report card: {field} = {detail['input']}: {detail['msg']}") from None


def assess_ready(model: RewardModel, evaluation: Preferences) -> ReportCard:
    """The card of a model that was fitted to nothing: all the data is held out."""
    comparisons = evaluation.comparisons
    figures = model.measured_figures(comparisons) if isinstance(model, MeasuresItself) else ()
    fit = Fit(model, figures=figures)
    return assess(fit, Split([], comparisons), evaluation.validation, None)


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Comparisons with the raw scores of their responses, which are finite."""

    comparisons: Sequence[Comparison]
    chosen: Floats
    rejected: Floats

    @cached_property
    def differences(self) -> Floats:
        """r(chosen) − r(rejected); what a float can't hold becomes the largest that it can."""
        with np.errstate(over="ignore"):
            return np.clip(self.chosen - self.rejected, -_LARGEST, _LARGEST)

    @cached_property
    def right(self) -> Floats:
        """1 where the chosen response scores higher, ½ where both score the same, else 0."""
        return preferred(self.differences)

    @cached_property
    def decided(self) -> list[bool]:
        return [not each.is_tie for each in self.comparisons]

    @property
    def shares(self) -> Floats:
        return np.array([each.share for each in self.comparisons], dtype=np.float64)

    @property
    def votes(self) -> Floats:
        return np.array([each.votes for each in self.comparisons], dtype=np.float64)

    @property
    def length_differences(self) -> Floats:
        """Words of the chosen response less those of the rejected one."""
        return np.array(
            [len(c.chosen.split()) - len(c.rejected.split()) for c in self.comparisons],
            dtype=np.float64,
        )


def score_pairs(model: RewardModel, comparisons: Sequence[Comparison]) -> ScoredPairs:
    """Raises BadReport for a score that isn't finite, with the texts it is of."""
    prompts = [each.prompt for each in comparisons] * 2
    responses = [each.chosen for each in comparisons] + [each.rejected for each in comparisons]
    if not responses:
        return ScoredPairs([], np.zeros(0), np.zeros(0))
    scores = np.asarray(model.score(prompts, responses), dtype=np.float64)
    if scores.shape != (len(responses),):
        raise BadReport(
            f"the reward model returned scores of shape {scores.shape} for {len(responses)} "
            "responses"
        )
    require_finite(scores, prompts, responses)
    return ScoredPairs(comparisons, scores[: len(comparisons)], scores[len(comparisons) :])


def require_finite(scores: Floats, prompts: Sequence[str], responses: Sequence[str]) -> None:
    """Raises BadReport for the first score that isn't finite, with the texts it is of."""
    bad = ~np.isfinite(scores)
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        raise BadReport(
            f"the reward model scores {scores[place]} for the prompt {prompts[place][:80]!r} and "
            f"the response {responses[place][:80]!r}; {int(bad.sum())} of {len(scores)} scores "
            "are not finite"
        )


def accuracy(model: RewardModel, comparisons: Sequence[Comparison]) -> Accuracy | None:
    """None where no comparison is decided. Raises BadReport as `score_pairs`."""
    return _accuracy(score_pairs(model, [each for each in comparisons if not each.is_tie]))


def ranked_right(model: RewardModel, comparisons: Sequence[Comparison]) -> Floats:
    """1 where the chosen response scores higher, ½ where both score the same, else 0."""
    return score_pairs(model, comparisons).right


def _accuracy(pairs: ScoredPairs) -> Accuracy | None:
    prompts = [
        each.prompt for each, is_in in zip(pairs.comparisons, pairs.decided, strict=True) if is_in
    ]
    if not prompts:
        return None
    mean = clustered_mean(pairs.right[pairs.decided], prompts)
    return Accuracy(
        pairs=len(prompts),
        prompts=len(set(prompts)),
        value=mean.value,
        standard_error=mean.standard_error,
        low=mean.low,
        high=mean.high,
    )


def _length_correlation(pairs: ScoredPairs) -> float | None:
    """Spearman's ρ of the two differences; each pair counts from both sides.

    Only so is the length of a model that prefers longer responses seen where those that people
    chose are all the longer ones.
    """
    if not pairs.comparisons:
        return None
    scores, lengths = pairs.differences, pairs.length_differences
    return spearman(np.concatenate([scores, -scores]), np.concatenate([lengths, -lengths]))


def _missing(pairs: ScoredPairs) -> list[str]:
    """Why figures are null although there are held-out pairs."""
    if not pairs.comparisons:
        return []
    found = []
    if not any(pairs.decided):
        found.append("no accuracy: all held-out pairs have tied votes")
    if not pairs.differences.any():
        found.append("no length correlation: the model scores both responses of every pair alike")
    elif not pairs.length_differences.any():
        found.append("no length correlation: the responses of every pair have equally many words")
    return found


def _out_of_distribution(
    split: Split, evaluation: Preferences | None
) -> tuple[list[Comparison], str | None]:
    """The evaluation data on prompts that weren't trained on, and what to say of the others."""
    if evaluation is None:
        return [], None
    trained_on = {each.prompt for each in split.train}
    elsewhere = [each for each in evaluation.comparisons if each.prompt not in trained_on]
    dropped = len(evaluation.comparisons) - len(elsewhere)
    note = (
        f"{dropped} of the evaluation data's {len(evaluation.comparisons)} pairs are on trained "
        "prompts and were left out"
    )
    if all(each.is_tie for each in elsewhere):
        return [], f"no out-of-distribution accuracy: no pair is left to rank; {note}"
    return elsewhere, note if dropped else None
