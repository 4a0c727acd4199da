"""Rounds: what the operator announces before any report, and the states a round goes through."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    ConfigDict,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from api_schemas import examples
from api_schemas.base import Schema, Timestamp, tag_of
from api_schemas.ids import FileId, JobId, ModelId, RoundId, Sha256
from api_schemas.language_models import Currency as Currency
from api_schemas.training import PolicyGradient, RewardedSoups, Training

RoundState = Literal["draft", "open", "closed", "running", "settled", "failed", "cancelled"]
CounterfactualMethod = Literal[
    "closed_form", "bound", "retrain", "early_stop", "checkpoints", "soup"
]
PaymentRule = Literal["affine_maximizer", "revenue_maximizing"]
ValuationBasis = Literal["pool", "mixture"]
MAX_EXACT_INTEGER = 2**53 - 1


class PoolSettings(Schema):
    """The finite outcome space, sampled from the initial model before any report is read."""

    method: Literal["sample", "enumerate"] = Field(
        "sample",
        description="`enumerate` lists every possible response with its probability under the "
        "initial model; only for models whose whole output space is small.",
    )
    samples_per_prompt: int = Field(32, ge=2, le=65536, description="N; ignored by `enumerate`.")
    holdout_samples_per_prompt: int = Field(
        8, ge=2, le=4096, description="A second pool that decides early stopping, never payments."
    )
    fresh_samples_per_prompt: int = Field(
        8,
        ge=0,
        le=4096,
        description="On-policy samples of the tuned model, to value it once more; 0 for none, "
        "else at least 2, which a standard error needs.",
    )

    mixture_samples_per_prompt: int = Field(
        8,
        ge=1,
        le=4096,
        description="Responses drawn from every candidate model under `value_on: mixture`.",
    )

    @field_validator("fresh_samples_per_prompt")
    @classmethod
    def _enough_for_an_error(cls, samples: int) -> int:
        if samples == 1:
            raise ValueError("1 fresh sample a prompt has no standard error: give 0, or 2 or more")
        return samples


class GenerationSettings(Schema):
    """Responses are drawn at temperature 1, so that their probabilities are the policy's own."""

    max_new_tokens: int = Field(24, ge=1, le=4096)


class KLRegularizer(Schema):
    """D = E_x KL(policy ‖ initial model), weighted by the KL coefficient λ."""

    type: Literal["kl"] = "kl"
    coefficient: float = Field(gt=0, description="λ, in agent·reward units per nat.")


class L2Regularizer(Schema):
    """D = E_x Σ_y (policy − initial model)², weighted by λ; on the pool, over its responses."""

    type: Literal["l2"] = "l2"
    coefficient: float = Field(
        gt=0, description="λ, in agent·reward units per unit of squared probability."
    )


Regularizer = Annotated[
    Annotated[KLRegularizer, Tag("kl")] | Annotated[L2Regularizer, Tag("l2")], tag_of("type", "kl")
]


class _Announced(NamedTuple):
    """Fields that were announced before the one at hand; None where one of them is wrong itself."""

    pool: PoolSettings | None
    regularizer: Regularizer | None
    training: Training | None
    counterfactuals: CounterfactualMethod | None
    value_on: ValuationBasis | None


def _training_complaint(training: Training, before: _Announced) -> str | None:
    l2 = before.regularizer is not None and before.regularizer.type == "l2"
    if l2 and training.gradient.method == "natural_gradient":
        return (
            "method 'natural_gradient' can't be had with regularizer 'l2': its optima lie further "
            "from the initial model than one linear step reaches; choose 'pool_gradient'"
        )
    return None


def _counterfactuals_complaint(method: str, before: _Announced) -> str | None:
    if before.training is None:
        return None
    if method == "soup" and not isinstance(before.training, RewardedSoups):
        return (
            "'soup' chooses among interpolated adapters, which only training 'rewarded_soups' "
            f"makes, not {before.training.method!r}"
        )
    trains_worlds = method not in ("soup", "closed_form", "bound")
    if isinstance(before.training, RewardedSoups) and trains_worlds:
        return (
            f"{method!r} trains worlds, but training 'rewarded_soups' trains reward models one by "
            "one: choose 'soup', 'closed_form' or 'bound'"
        )
    return None


def _steps_complaint(steps: int | None, before: _Announced) -> str | None:
    method, training = before.counterfactuals, before.training
    if method is None or training is None:
        return None
    if method != "early_stop":
        return None if steps is None else f"counterfactuals is {method!r}: leave it out"
    if steps is None:
        return "counterfactuals 'early_stop' needs it"
    if steps >= training.gradient.steps:
        return (
            f"{steps} is not below training.steps {training.gradient.steps}: that is "
            "counterfactuals 'retrain'"
        )
    return None


def _value_on_complaint(basis: str, before: _Announced) -> str | None:
    if basis == "pool":
        return None
    if before.counterfactuals in ("closed_form", "bound"):
        return (
            f"'mixture' can't be had with counterfactuals {before.counterfactuals!r}: the optimum "
            "without a group exists on the pool only"
        )
    if before.regularizer and before.regularizer.type == "l2":
        return (
            "'mixture' can't be had with regularizer 'l2': off the pool its distance is that of "
            "whole models, which is no measure for the pool's optimum"
        )
    if before.pool and before.pool.method == "enumerate":
        return "'mixture' adds nothing to pool.method 'enumerate', which lists everything"
    return None


def _payment_rule_complaint(rule: str, before: _Announced) -> str | None:
    if rule == "affine_maximizer":
        return None
    if before.counterfactuals in ("soup", "checkpoints"):
        return (
            "'revenue_maximizing' can't be had with counterfactuals "
            f"{before.counterfactuals!r}: its surcharge is the smallest utility over all possible "
            "reports, and here each report would train other models to choose from, which nobody "
            "has trained"
        )
    if before.value_on == "mixture":
        return (
            "'revenue_maximizing' can't be had with value_on 'mixture': the surcharge is computed "
            "on the pool, and could exceed a utility estimated elsewhere"
        )
    return None


_COMPLAINTS: Mapping[str, Callable[[Any, _Announced], str | None]] = {
    "training": _training_complaint,
    "counterfactuals": _counterfactuals_complaint,
    "counterfactual_steps": _steps_complaint,
    "value_on": _value_on_complaint,
    "payment_rule": _payment_rule_complaint,
}


class RoundCreate(Schema):
    """What the operator announces. Immutable once the round is open."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Tone of the help desk",
                    "base_model": "smollm2-135m-instruct",
                    "prompts_file_id": "file_01jd2m8x3k5v7w9y0a1b2c3d4e",
                    "regularizer": {"type": "kl", "coefficient": 1.0},
                    "training": {"method": "policy_gradient", "steps": 12},
                    "counterfactuals": "retrain",
                    "max_group_size": 100,
                    "price_per_unit_micro_units": 1_000_000,
                    "currency": "EUR",
                    "closes_at": "2030-01-01T00:00:00Z",
                }
            ]
        }
    )

    name: str = Field(min_length=1, max_length=200)
    base_model: str = Field(
        min_length=1,
        max_length=500,
        description="`smollm2-135m-instruct`, a hub id, a local folder, a GGUF file, or "
        "one made here (`bm_…`).",
    )
    prompts_file_id: FileId
    seed: int = Field(0, ge=0, lt=2**31)
    pool: PoolSettings = PoolSettings()
    generation: GenerationSettings = GenerationSettings()
    regularizer: Regularizer
    training: Training = PolicyGradient()
    counterfactuals: CounterfactualMethod = Field("retrain", validate_default=True)
    counterfactual_steps: int | None = Field(
        None,
        validate_default=True,
        ge=1,
        le=100_000,
        description="Steps of the trainings without a group; for `early_stop`, and only for it.",
    )
    value_on: ValuationBasis = Field(
        "pool",
        description="`mixture` also values the models on samples of their own, for policies that "
        "training moves beyond the pool's support; payments then carry sampling noise.",
    )
    payment_rule: PaymentRule = "affine_maximizer"
    max_group_size: int = Field(
        ge=1, le=10**9, strict=True, description="Largest size a group may report."
    )
    price_per_unit_micro_units: int = Field(
        ge=0,
        le=10**15,
        strict=True,
        description="Money per agent·reward unit, in millionths of the currency.",
    )
    currency: Currency = "EUR"
    opens_at: Timestamp | None = Field(
        None, description="Reports are refused before; null: at /open."
    )
    closes_at: Timestamp | None = Field(
        None, description="The deadline of reports. Null: the operator closes by hand."
    )
    on_bad_report: Literal["exclude", "fail"] = "exclude"
    on_negative_payment: Literal["credit", "fail"] = "credit"
    invoicing: Literal["automatic", "manual"] = Field(
        "automatic",
        # Announcements older than this field must keep their digest.
        exclude_if=lambda value: value == "automatic",
        description="`manual` leaves the invoices of a settled round drafts, which only the "
        "operator sees until it opens them. Left out of answers and digests where `automatic`.",
    )

    @model_validator(mode="after")
    def _closes_after_it_opens(self) -> "RoundCreate":
        if self.opens_at and self.closes_at and self.closes_at <= self.opens_at:
            raise ValueError(
                f"closes_at {self.closes_at.isoformat()} is not after "
                f"opens_at {self.opens_at.isoformat()}"
            )
        return self

    @field_validator(
        "training", "counterfactuals", "counterfactual_steps", "value_on", "payment_rule"
    )
    @classmethod
    def _fits_the_fields_before_it(cls, value: Any, field: ValidationInfo) -> Any:
        """Methods that can't be combined are refused at the later one's field."""
        assert field.field_name is not None
        before = _Announced(**{name: field.data.get(name) for name in _Announced._fields})
        complaint = _COMPLAINTS[field.field_name](value, before)
        if complaint:
            raise ValueError(complaint)
        return value

    @model_validator(mode="after")
    def _amounts_stay_exact(self) -> "RoundCreate":
        """What all of a group's value is worth must be an integer that JSON carries exactly; an
        outcome's amounts are checked again when it is settled."""
        largest = self.max_group_size * self.price_per_unit_micro_units
        if largest > MAX_EXACT_INTEGER:
            raise ValueError(
                f"max_group_size × price_per_unit_micro_units is {largest}, beyond the largest "
                f"integer that JSON carries exactly, {MAX_EXACT_INTEGER}"
            )
        return self


class Announcement(RoundCreate):
    """The round's rules, fixed before any report; its canonical JSON (RFC 8785) has a sha256."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ANNOUNCEMENT]})

    version: Literal[1] = 1
    base_model_revision: Sha256 = Field(description="Digest of the weights and the tokenizer.")
    prompts_sha256: Sha256


class RoundFailure(Schema):
    code: str
    message: str


class Round(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.ROUND]})

    object: Literal["round"] = "round"
    id: RoundId
    state: RoundState
    announcement: Announcement
    announcement_digest: Sha256
    commitment_root: Sha256 | None = Field(
        None,
        description="Merkle root of the commitments to all reports, from the close on; null before "
        "and where nobody reported.",
    )
    job_id: JobId | None = None
    model_id: ModelId | None = None
    failure: RoundFailure | None = None
    created_at: Timestamp
    opened_at: Timestamp | None = None
    closed_at: Timestamp | None = None
    settled_at: Timestamp | None = None
