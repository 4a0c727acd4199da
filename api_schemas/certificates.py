"""The certificate of a round: how far its promise holds, measured, with all digests."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema
from api_schemas.ids import GroupId, RoundId, Sha256
from api_schemas.jobs import StageName
from api_schemas.outcomes import HoldoutValuation, IncentiveCertificate
from api_schemas.rounds import CounterfactualMethod, PaymentRule, Regularizer, ValuationBasis


class WorldCertificate(Schema):
    """How good a world's model is, and how well the pool supports it; fields as in the outcome."""

    world: str = Field(description="`grand` or `without:<group id>`.")
    without_group_id: GroupId | None
    optimality_gap: float = Field(description="ASW* − ASW, agent·reward units.")
    effective_samples_mean: float
    effective_samples_minimum: float
    low_support_prompts: int
    support_ratio: float


class GroupCertificate(Schema):
    """What a false report may gain more because rewards off the pool differ from those reported."""

    group_id: GroupId
    size: int
    reward_error: float | None = Field(description="ε, where it was measured.")
    reward_error_bound: float | None = Field(description="2·size·ε, agent·reward units.")


class AuditedGains(Schema):
    """The largest gains over all finished audits of the round, agent·reward units."""

    audits: int
    largest_gain: float | None = Field(
        description="With payments, in closed form on the pool. A group sees 0 where no misreport "
        "gained: how much each lost would tell of the others' reports."
    )
    largest_gain_without_payments: float | None = Field(description="The operator's alone.")
    largest_gain_retrained: float | None = Field(
        description="Of whole trainings; null if there were none. The operator's alone."
    )


class RoundDigests(Schema):
    """What the round was computed from, and what it came to.

    Null for groups are those that depend on every report and come with no bytes: whoever has one
    could test guesses of others' reports by it.
    """

    announcement: Sha256
    pool: Sha256
    adapter: Sha256
    outcome: Sha256 | None
    base_model_revision: Sha256
    prompts: Sha256
    stages: dict[StageName, Sha256] | None
    code_version: str | None = Field(
        description="Of the Truthtune that settled the round; null if it did not note that."
    )


class Certificate(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.CERTIFICATE]})

    object: Literal["certificate"] = "certificate"
    round_id: RoundId
    announcement_digest: Sha256
    counterfactuals: CounterfactualMethod
    payment_rule: PaymentRule
    regularizer: Regularizer
    value_on: ValuationBasis
    certificate: IncentiveCertificate
    worlds: list[WorldCertificate] = Field(
        description="The operator sees all, a group the grand one; none with fewer than three "
        "groups, as in the outcome."
    )
    holdout: HoldoutValuation | None
    groups: list[GroupCertificate] = Field(
        description="The operator sees all, a group its own line."
    )
    audited: AuditedGains | None = Field(description="Null while no audit has finished.")
    digests: RoundDigests
    warnings: list[str]
