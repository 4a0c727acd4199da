"""Measuring a reward model on comparisons it has not seen: what its report card says."""

import math
from collections.abc import Sequence

import numpy as np

from api_schemas.datasets import DataValidation
from api_schemas.report_cards import Accuracy, ReportCard
from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Comparison, Preferences, Split
from workers.rewards.interfaces import Fit, RewardModel


def assess(
    fit: Fit, split: Split, validation: DataValidation, evaluation: Preferences | None
) -> ReportCard:
    """The card of a model that was fitted to `split.train`."""
    model = fit.measured or fit.model
    return ReportCard(
        n_pairs=validation.pairs,
        n_prompts=validation.prompts,
        n_duplicates_dropped=validation.duplicates,
        n_ties_dropped=validation.same_texts,
        n_train=len(split.train),
        n_holdout=len(split.holdout),
        accuracy=accuracy(model, split.holdout),
        calibration=None,
        scores=None,
        length_correlation=None,
        out_of_distribution=accuracy(model, evaluation.comparisons) if evaluation else None,
        figures=list(fit.figures),
        curves=list(fit.curves),
        note=split.note,
    )


def assess_ready(model: RewardModel, evaluation: Preferences) -> ReportCard:
    """The card of a model that was fitted to nothing: all the data is held out."""
    return assess(Fit(model), Split([], evaluation.comparisons), evaluation.validation, None)


def accuracy(model: RewardModel, comparisons: Sequence[Comparison]) -> Accuracy | None:
    """None where no comparison is decided."""
    decided = [each for each in comparisons if not each.is_tie]
    if not decided:
        return None
    correct = ranked_right(model, decided)
    prompts = [each.prompt for each in decided]
    error = clustered_standard_error(correct, prompts)
    value = float(correct.mean())
    return Accuracy(
        pairs=len(decided),
        prompts=len(set(prompts)),
        value=value,
        standard_error=error,
        low=value,
        high=value,
    )


def ranked_right(model: RewardModel, comparisons: Sequence[Comparison]) -> Floats:
    """1 where the chosen response scores higher, ½ where both score the same, else 0."""
    prompts = [each.prompt for each in comparisons]
    chosen = model.score(prompts, [each.chosen for each in comparisons])
    rejected = model.score(prompts, [each.rejected for each in comparisons])
    return (np.sign(chosen - rejected) + 1) / 2


def clustered_standard_error(values: Floats, clusters: Sequence[str]) -> float | None:
    """Standard error of the mean when values within a cluster depend on each other.

    sqrt(G/(G−1) · Σ_g (Σ_{k∈g} (a_k − ā))²)/K for K values in G clusters (Liang & Zeger 1986);
    None for a single cluster, which tells nothing of the spread.
    """
    names = sorted(set(clusters))
    if len(names) < 2:
        return None
    place = {name: g for g, name in enumerate(names)}
    sums = np.zeros(len(names))
    np.add.at(sums, [place[name] for name in clusters], values - values.mean())
    return math.sqrt(len(names) / (len(names) - 1) * float(sums @ sums)) / len(values)
