"""A fitted reward model's scores of many texts, spread over tasks."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from api_schemas.errors import BadReport
from api_schemas.jobs import AnyJobInput
from workers.mechanism.arrays import Floats
from workers.rewards.interfaces import MemberScores
from workers.rewards.registry import FittedRewardModel
from workers.stages.context import StageContext, TaskContext, contiguous_shards

_RESPONSES_PER_TASK = 4096


@dataclass(frozen=True, eq=False)
class ScoredTexts:
    """Raw scores, and those of the members where they were asked for and there are any."""

    scores: Floats
    members: MemberScores | None


@dataclass(frozen=True)
class _Block:
    model: str
    prompts: list[str]
    responses: list[str]
    with_members: bool


def score_texts(
    context: StageContext[AnyJobInput],
    model: str,
    prompts: list[str],
    responses: list[str],
    *,
    uses_model: bool,
    with_members: bool = False,
) -> ScoredTexts:
    """Scores by the model of digest `model`, in the order of the responses, of which there is one.

    `uses_model`: it runs a neural network, which takes a GPU or all cores. Raises BadReport if the
    model can't be read or fails; scores that aren't finite are left for the caller to see.
    """
    blocks = contiguous_shards(len(responses), -(-len(responses) // _RESPONSES_PER_TASK))
    items = [
        _Block(
            model,
            prompts[block.start : block.stop],
            responses[block.start : block.stop],
            with_members,
        )
        for block in blocks
    ]
    parts = context.runner.map(_score, items, uses_model=uses_model, lost=_unusable)
    for part in parts:
        if "reason" in part:
            raise BadReport(part["reason"])
    return ScoredTexts(
        np.concatenate([part["scores"] for part in parts]),
        _joined([part["members"] for part in parts]),
    )


def _joined(parts: list[MemberScores | None]) -> MemberScores | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return MemberScores(known[0].weights_M, np.concatenate([p.scores_MJ for p in known], axis=1))


def _score(context: TaskContext[AnyJobInput], block: _Block) -> dict[str, Any]:
    data = context.artifacts.get(block.model)
    try:
        model = FittedRewardModel.from_bytes(data)
        texts = block.prompts, block.responses
        if not block.with_members:
            return {"scores": model.score(*texts), "members": None}
        scores, members = model.score_with_members(*texts)
        return {"scores": scores, "members": members}
    except Exception as error:  # a reward model may fail in any way; only its owner bears it
        return _unusable(f"{type(error).__name__}: {error}")


def _unusable(reason: str) -> dict[str, Any]:
    return {"reason": f"its reward model failed: {reason}"}
