"""The report card of a reward model: how well it agrees with preferences it has not seen."""

from typing import Self

from pydantic import Field, model_validator

from api_schemas.base import Schema


class Accuracy(Schema):
    """Share of pairs ranked as the majority of votes does; equal scores count one half."""

    pairs: int = Field(description="Pairs it was measured on; those with equal votes can't be.")
    prompts: int
    value: float
    standard_error: float | None = Field(
        description="Clustered by prompt; null with one prompt. 0 if no prompt differs from "
        "another, which tells little: the interval is honest there too."
    )
    low: float = Field(
        description="95 % interval: the wider of whole prompts drawn anew and of Wilson's with the "
        "effective number of pairs. With one prompt it is [0, 1]."
    )
    high: float


class CalibrationBin(Schema):
    predicted: float = Field(description="Mean of σ(difference of scores).")
    observed: float = Field(description="Mean share of votes for the same response.")
    pairs: int


class Calibration(Schema):
    """How well σ of the difference of scores tells the share of votes."""

    error: float = Field(
        description="Expected calibration error: Σ pairs/n·|observed − predicted| over the bins."
    )
    chance: float = Field(
        description="What the error of a perfectly calibrated model would be about, by chance of "
        "the votes alone, were pairs independent. An error near it shows no miscalibration."
    )
    log_loss: float = Field(description="Nats a pair; knowing nothing gives log 2 = 0.693.")
    bins: list[CalibrationBin] = Field(
        description="Of about equally many pairs each, seen from the response that the model "
        "prefers: predicted is at least 0.5. From the other side all are mirrored."
    )


class ScoreDistribution(Schema):
    """Raw scores of the responses of held-out pairs, each as often as it occurs."""

    mean: float
    standard_deviation: float
    minimum: float
    maximum: float
    edges: list[float] = Field(description="Of the histogram, one more than the counts.")
    chosen: list[int] = Field(description="Responses that the votes prefer, in each bin.")
    rejected: list[int] = Field(description="The others of the same pairs; tied votes prefer none.")


class Figure(Schema):
    """A number that a method found about its own model."""

    name: str
    value: float
    standard_error: float | None = None


class Series(Schema):
    name: str
    y: list[float]
    standard_errors: list[float] | None = None


class Curve(Schema):
    """A drawing of a method's own: one or more series over the same x."""

    title: str
    x_label: str
    y_label: str
    x: list[float]
    series: list[Series]

    @model_validator(mode="after")
    def _series_must_fit(self) -> Self:
        for each in self.series:
            for name, values in (("y", each.y), ("standard_errors", each.standard_errors)):
                if values is not None and len(values) != len(self.x):
                    raise ValueError(
                        f"series {each.name!r}: {len(values)} {name} for {len(self.x)} x"
                    )
        return self


class ReportCard(Schema):
    """What is known of a reward model; null where there is no data to tell it from, and why."""

    n_pairs: int = Field(description="Distinct pairs of the data.")
    n_prompts: int
    n_duplicates_dropped: int = Field(description="Repetitions of the same prompt and pair.")
    n_ties_dropped: int = Field(description="Pairs whose chosen and rejected texts are the same.")
    n_tied_votes: int = Field(0, description="Pairs with equal votes; used for calibration only.")
    n_unusable_dropped: int = Field(0, description="Lines with an empty reply, or not a pair.")
    n_train: int = Field(description="Pairs of the model that was measured.")
    n_holdout: int = Field(description="Pairs of the held-out prompts.")
    accuracy: Accuracy | None = Field(description="On held-out prompts.")
    calibration: Calibration | None
    scores: ScoreDistribution | None
    length_correlation: float | None = Field(
        description="Spearman's ρ, over held-out pairs seen from both sides, of the difference of "
        "scores and that of lengths in words: near ±1 the model rewards little but length."
    )
    out_of_distribution: Accuracy | None = Field(
        None,
        description="On evaluation data that was given beside the training data, without its pairs "
        "on prompts that the model was trained on.",
    )
    figures: list[Figure] = Field([], description="The method's own.")
    curves: list[Curve] = Field([], description="The method's own.")
    note: str | None = Field(None, description="Why something is null.")
