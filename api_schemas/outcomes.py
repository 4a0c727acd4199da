"""The outcome of a round: worlds, valuations, payments, and how far each may be trusted."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema
from api_schemas.ids import GroupId, RoundId, Sha256
from api_schemas.models import ModelFile
from api_schemas.rounds import CounterfactualMethod, PaymentRule, Regularizer, ValuationBasis


class WorldOutcome(Schema):
    """One world: the grand one, or the one without a group. Welfare in agent·reward units."""

    world: str = Field(description="`grand` or `without:<group id>`.")
    without_group_id: GroupId | None
    chosen: str = Field(
        description="`pool_optimum`, `initial`, or `world@step` of the adapter that was chosen."
    )
    welfare_initial: float = Field(description="ASW of the initial model.")
    welfare: float = Field(description="ASW of the chosen model, on the pool or the mixture.")
    welfare_standard_error: float | None = Field(
        None, description="Of `welfare`, under `value_on: mixture`; the pool has no sampling error."
    )
    welfare_optimum: float = Field(description="ASW* of the closed form on the pool.")
    optimality_gap: float = Field(
        description="ASW* − ASW on the pool, at least 0; under `mixture` too."
    )
    divergence: float = Field(
        description="D of the chosen model by the announced regulariser, the prompts' mean: nats "
        "under `kl`."
    )
    divergence_optimum: float
    effective_samples_mean: float
    effective_samples_minimum: float
    low_support_prompts: int = Field(
        description="Prompts whose effective sample is below 5 % of N."
    )
    support_ratio: float = Field(
        description="KL of the optimum / log N; above 0.5 the pool is small."
    )


class GroupOutcome(Schema):
    """One group's line. Valuations are per agent, payments and utilities for the whole group."""

    group_id: GroupId
    size: int
    excluded: str | None = Field(
        None, description="Why the group was left out; then it pays nothing."
    )
    valuation_initial: float | None = Field(
        None, description="v_i of the initial model, in [0, 1]."
    )
    valuation: float | None = Field(None, description="v_i of the chosen model, in [0, 1].")
    others_welfare_without: float | None = Field(
        None,
        description="ASW₋ᵢ of the world without the group. Null, as the next, for a group in a "
        "round of fewer than three.",
    )
    others_welfare_with: float | None = Field(None, description="ASW₋ᵢ of the chosen model.")
    counterfactual_gap: float | None = Field(
        None,
        description="Optimality gap of the world without the group: without a surcharge its "
        "payment is at least minus this. Null for a group in a round of fewer than three.",
    )
    payment: float | None = Field(
        None,
        description="The difference of these two, and the surcharge: agent·reward units.",
    )
    surcharge: float | None = Field(
        None,
        description="Part of the payment under `revenue_maximizing`: the smallest utility that "
        "any report would have given the group. Null under other rules.",
    )
    amount_micro_units: int | None = Field(None, description="floor(payment × price).")
    utility: float | None = Field(None, description="size · valuation − payment.")
    clipped_share: float | None = Field(
        None, description="Share of fresh samples whose score fell outside the pool's range."
    )
    reward_error: float | None = Field(
        None,
        description="ε: the furthest that a reward used lies from the reported one, which goes "
        "beyond [0, 1] on held-out and fresh samples; on the pool they are equal. Of a reward "
        "model with members that enters by their aggregate, the furthest from any member on both "
        "pools, if that is more.",
    )
    reward_error_bound: float | None = Field(
        None, description="2·size·ε: what a false report gains more at most because of ε."
    )


class FreshValuation(Schema):
    """Welfare on fresh samples of the delivered model, with standard errors over samples.

    The initial model's is that of its samples in both pools, or exact where the pool is enumerated.
    """

    samples: int
    welfare_initial: float
    welfare_initial_standard_error: float
    welfare: float
    welfare_standard_error: float
    gain: float
    gain_standard_error: float
    divergence: float = Field(
        description="D on the samples; under `kl` the exact token-level KL along them, nats."
    )


class HoldoutValuation(Schema):
    """The delivered model in the grand world on the held-out pool, which no payment depends on."""

    welfare: float = Field(description="ASW of the delivered model there.")
    welfare_initial: float
    welfare_optimum: float = Field(description="ASW* there; few samples make it small.")
    optimality_gap: float = Field(description="The last minus the first, at least 0.")
    divergence: float


class RewardAgreement(Schema):
    """How far the groups' reward models agree on the pool."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.REWARD_AGREEMENT]})

    group_ids: list[GroupId] = Field(description="The groups that take part, as rows and columns.")
    spearman: list[list[float | None]] = Field(
        description="Spearman's ρ between two groups' rewards of a prompt's responses, the "
        "prompts' weighted mean; null where no prompt has both prefer something."
    )


class IncentiveCertificate(Schema):
    """No misreport, of rewards or size, gains any group more than this."""

    guarantee: str = Field(description="The guarantee of the counterfactual method, in words.")
    figures: str = Field(description="The measured figures behind it, in words.")
    largest_gain: float | None = Field(
        description="Agent·reward units; on the pool. Null for a group in a round of fewer than "
        "three under `checkpoints`, where it would tell what the other reported."
    )
    largest_gain_micro_units: int | None = Field(description="The same in money, rounded up.")
    estimate: bool = Field(
        False, description="True where models were valued off the pool: no bound, an estimate."
    )


class Outcome(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.OUTCOME]})

    object: Literal["outcome"] = "outcome"
    round_id: RoundId
    announcement_digest: Sha256
    counterfactuals: CounterfactualMethod
    payment_rule: PaymentRule
    regularizer: Regularizer
    value_on: ValuationBasis
    pool_prompts: int
    pool_samples_per_prompt: int
    price_per_unit_micro_units: int
    currency: str
    worlds: list[WorldOutcome] = Field(
        description="The operator sees all, a group the grand one; none with fewer than three "
        "groups, where welfare would tell a group what the one other reported."
    )
    groups: list[GroupOutcome] = Field(description="The operator sees all, a group its own line.")
    certificate: IncentiveCertificate
    fresh: FreshValuation | None = Field(
        description="Null if the announcement asks for no fresh samples, and for a group in a "
        "round of fewer than three."
    )
    holdout: HoldoutValuation | None = Field(
        None,
        description="Null where the pool is enumerated, and for a group in a round of fewer than "
        "three.",
    )
    delivered: WorldOutcome | None = Field(
        description="The adapter to download, on the pool. Null for a group in a round of fewer "
        "than three."
    )
    reward_agreement: RewardAgreement | None = Field(
        None, description="The operator's alone: null for groups, and with a single group."
    )
    warnings: list[str]
    pool_digest: Sha256
    adapter_digest: Sha256


class Valued(Schema):
    """What the `value` stage leaves for settlement: the outcome and the delivered adapter."""

    outcome: Outcome
    adapter_files: list[ModelFile] = Field(description="Their bytes are in the artifact store.")
