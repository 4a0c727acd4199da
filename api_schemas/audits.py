"""The incentive audit: a settled round played again with one group's report changed.

Source of the strategies: docs/mechanism.md, and SCWCD (arXiv 2405.16276), section 6.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import AuditId, GroupId, JobId, RoundId, Sha256
from api_schemas.rounds import PaymentRule

MAX_REPLAYS = 20_000
MAX_RETRAINED = 16

Strategy = Literal["inflate", "deflate", "sharpen", "oppose", "spike"]
Factor = Annotated[float, Field(gt=0, le=1e6)]


class Misreport(Schema):
    """One false report: a strategy and how far it goes.

    `inflate`, `deflate`: the size becomes round(α·size), at least 1, at most the announced bound.
    `sharpen`: rewards become r^β. `oppose`: r − β·(mean of the others' rewards). `spike`: 1 on the
    group's best responses, 0 elsewhere; its parameter is 1. Rewards are normalised again after.
    """

    group_id: GroupId
    strategy: Strategy
    parameter: Factor = Field(1.0, description="α of `inflate`, `deflate`; β of the others.")

    @model_validator(mode="after")
    def _goes_the_way_it_says(self) -> "Misreport":
        wrong = {
            "inflate": (self.parameter < 1, "at least 1"),
            "deflate": (self.parameter > 1, "at most 1"),
            "spike": (self.parameter != 1, "1"),
        }
        is_wrong, expected = wrong.get(self.strategy, (False, ""))
        if is_wrong:
            raise ValueError(
                f"parameter {self.parameter:g} of {self.strategy!r} must be {expected}"
            )
        return self


class AuditCreate(Schema):
    """Which misreports to try; every one for every group, in closed form on the pool."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.AUDIT_CREATE]})

    group_ids: list[GroupId] | None = Field(
        None, min_length=1, max_length=1000, description="Whose reports change; null: everyone's."
    )
    alphas: list[Factor] = Field(
        [0.25, 0.5, 0.75, 1.25, 1.5, 2.0, 3.0, 5.0],
        max_length=200,
        description="Factors on the size: above 1 they `inflate`, below 1 they `deflate`.",
    )
    sharpen_betas: list[Factor] = Field([0.25, 0.5, 2.0, 4.0, 8.0], max_length=200)
    oppose_betas: list[Factor] = Field([0.25, 0.5, 1.0, 2.0], max_length=200)
    spike: bool = True
    retrain: list[Misreport] = Field(
        [],
        max_length=MAX_RETRAINED,
        description="Misreports for which the models are trained anew as well, each a whole "
        "training.",
    )

    @model_validator(mode="after")
    def _something_to_try_once(self) -> "AuditCreate":
        if self.group_ids is not None and len(set(self.group_ids)) < len(self.group_ids):
            raise ValueError("group_ids names a group twice")
        if self.misreports_per_group == 0:
            raise ValueError("alphas and betas hold no misreport, and spike is false")
        return self

    @property
    def misreports_per_group(self) -> int:
        return len(list(self.misreports()))

    def misreports(self) -> Iterator[tuple[Strategy, float]]:
        """Every strategy with its parameter; α = 1 and r^1 are the truth, and no misreport."""
        for alpha in self.alphas:
            if alpha != 1:
                yield ("inflate" if alpha > 1 else "deflate"), alpha
        yield from (("sharpen", beta) for beta in self.sharpen_betas if beta != 1)
        yield from (("oppose", beta) for beta in self.oppose_betas)
        if self.spike:
            yield "spike", 1.0


class AuditLine(Schema):
    """What one report brings its group, judged by its true report. Agent·reward units."""

    group_id: GroupId
    strategy: Literal["truth"] | Strategy
    parameter: float
    reported_size: int
    valuation: float = Field(description="v_i of the chosen model under the true reward, an agent.")
    payment: float
    utility: float = Field(description="True size · valuation − payment.")
    utility_without_payments: float = Field(description="True size · valuation.")
    gain: float = Field(description="Utility minus that of the truth; never above 0 if truthful.")
    gain_without_payments: float


class AuditResult(Schema):
    """All replays. `truth` and `misreports` are in closed form on the pool; no training errs there.

    `retrained` are of whole trainings, their gains against the round's own models: they are bounded
    by the round's certificate only. Both are valued on the pool, whatever the round announced.
    """

    truth: list[AuditLine]
    misreports: list[AuditLine]
    refused: list[Misreport] = Field(
        [],
        description="Misreports that `revenue_maximizing` takes from nobody, for they leave no "
        "preference: they have no line.",
    )
    retrained: list[AuditLine]
    largest_gain: float | None = Field(
        description="Over `misreports`, with payments; null if every one would be refused."
    )
    largest_gain_without_payments: float | None
    largest_gain_retrained: float | None = Field(
        description="Over `retrained`; the certificate's `largest_gain` bounds it."
    )


class Audit(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.AUDIT]})

    object: Literal["audit"] = "audit"
    id: AuditId
    round_id: RoundId
    job_id: JobId
    settings: AuditCreate
    payment_rule: PaymentRule
    result: AuditResult | None = Field(
        description="Null until the job has succeeded, and in lists, as it may be long."
    )
    result_digest: Sha256 | None
    plot_digest: Sha256 | None = Field(description="Of the SVG at `/v1/audits/{id}/plot.svg`.")
    created_at: Timestamp


class Audited(Schema):
    """What an audit's last stage leaves."""

    result: AuditResult
    plot_sha256: Sha256
