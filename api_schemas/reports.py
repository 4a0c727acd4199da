"""A group's report: its size and its reward model, sealed until the round closes."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.groups import ONE_LINE
from api_schemas.ids import GroupId, ReportId, RoundId, Sha256
from api_schemas.reward_models import RewardModelSpec


class ReportPut(Schema):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "size": 7,
                    "reward_model": {
                        "type": "lexical",
                        "features": [
                            {"type": "keywords", "words": ["please", "thank"], "weight": 1.0},
                            {"type": "length", "target_words": 12, "weight": 0.5},
                        ],
                    },
                }
            ]
        }
    )

    size: int = Field(
        ge=1, le=10**9, strict=True, description="Agents in the group, at most the announced bound."
    )
    reward_model: RewardModelSpec


class ProbeResult(Schema):
    """Scores of the reward model on a few fixed samples, before normalisation."""

    samples: int
    minimum: float
    maximum: float


class Report(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.REPORT]})

    object: Literal["report"] = "report"
    id: ReportId
    round_id: RoundId
    group_id: GroupId
    size: int
    reward_model: RewardModelSpec
    commitment: Sha256 = Field(
        description="SHA-256 of domain, round, group, salt and the canonical JSON of size and "
        "reward model. Keep it: the round's `commitment_root` and your receipt are bound to it."
    )
    salt: str = Field(description="32 random bytes in base 64, drawn anew for every report.")
    probe: ProbeResult | None = Field(
        description="Null where the reward model must be fitted first."
    )
    submitted_at: Timestamp
    unsealed_at: Timestamp | None = Field(
        None, description="When the operator first looked at the round's reports, after its close."
    )


class UnsealRequest(Schema):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "teachers dispute their invoice"}]}
    )

    reason: str = Field(
        min_length=1, max_length=1000, pattern=ONE_LINE, description="Kept in the audit log."
    )


class UnsealedReports(Schema):
    """All reports of a closed round."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.UNSEALED_REPORTS]})

    object: Literal["unsealed_reports"] = "unsealed_reports"
    round_id: RoundId
    reason: str
    reports: list[Report] = Field(description="Sorted by group id.")


class ReportDeleted(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.REPORT_DELETED]})

    object: Literal["report.deleted"] = "report.deleted"
    round_id: RoundId
    deleted: Literal[True] = True
