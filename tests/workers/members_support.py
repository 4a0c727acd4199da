"""A reward model whose members are lexical ones, made ahead of a round and named by a report."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from conftest import GROUP_IDS, TASTES, TinyRound

from api_schemas.jobs import ReportInput
from api_schemas.lexical import LexicalSpec
from api_schemas.reward_models import PinnedInputs, TrainedSpec
from workers.rewards.interfaces import MemberScores
from workers.rewards.lexical import LexicalReward
from workers.rewards.registry import FittedRewardModel, derived_model

MODEL_ID = "rm_" + "a" * 26


@derived_model("voices_for_tests")
@dataclass(frozen=True, eq=False)
class Voices:
    """Members with mixing weights; the aggregate is their weighted mean."""

    uses_model: ClassVar[bool] = False

    tastes: Sequence[dict[str, Any]]
    weights: Sequence[float]

    @classmethod
    def validate(cls, spec: Any) -> None:
        pass

    def member_scores(self, prompts: Sequence[str], responses: Sequence[str]) -> MemberScores:
        scores = [
            LexicalReward(LexicalSpec.model_validate(taste)).score(prompts, responses)
            for taste in self.tastes
        ]
        return MemberScores(np.array(self.weights), np.stack(scores))

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Any:
        return self.aggregated(self.member_scores(prompts, responses))

    def aggregated(self, members: MemberScores) -> Any:
        return members.weights_M @ members.scores_MJ

    def to_bytes(self) -> bytes:
        return json.dumps({"tastes": list(self.tastes), "weights": list(self.weights)}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls(**json.loads(data))


def fitted(tastes: Sequence[dict[str, Any]], weights: Sequence[float]) -> FittedRewardModel:
    return FittedRewardModel("voices_for_tests", Voices(tastes, weights), None)


def with_trained(made: TinyRound, model: FittedRewardModel, members: str, size: int) -> TinyRound:
    """The round with one more report first, of group a, that names the model; others move on."""
    spec = TrainedSpec(type="trained", reward_model_id=MODEL_ID, members=members)
    digest = made.artifacts.put(model.to_bytes())
    report = ReportInput(
        group_id=GROUP_IDS[0],
        size=size,
        reward_model=spec,
        report_digest=digest,
        pinned=PinnedInputs(reward_models={MODEL_ID: digest}),
    )
    others = [
        each.model_copy(update={"group_id": group_id})
        for each, group_id in zip(made.job.reports, GROUP_IDS[1:], strict=False)
    ]
    made.job = made.job.model_copy(update={"reports": [report, *others]})
    return made


CONSTANT = {"type": "lexical", "features": [{"type": "keywords", "words": ["absent"]}]}
FIRST, SECOND, THIRD = TASTES
