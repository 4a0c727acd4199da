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
from workers.stages.pool_texts import RESPONSES_PER_BLOCK, PoolTexts, read_block


@dataclass(frozen=True, eq=False)
class ScoredTexts:
    """Raw scores, and those of the members where they were asked for and there are any."""

    scores: Floats
    members: MemberScores | None


@dataclass(frozen=True)
class _Block:
    """`texts` are prompts and responses, or the digest of a pool's block."""

    model: str
    texts: tuple[list[str], list[str]] | str
    with_members: bool


def score_texts(
    context: StageContext[AnyJobInput],
    model: str,
    prompts: list[str],
    responses: list[str],
    *,
    uses_model: bool,
) -> ScoredTexts:
    """Scores by the model of digest `model`, in the order of the responses, of which there is one.

    `uses_model`: it runs a neural network, which takes a GPU or all cores. Raises BadReport if the
    model can't be read or fails; scores that aren't finite are left for the caller to see.
    """
    shards = contiguous_shards(len(responses), -(-len(responses) // RESPONSES_PER_BLOCK))
    texts = [(prompts[s.start : s.stop], responses[s.start : s.stop]) for s in shards]
    items = [_Block(model, each, with_members=False) for each in texts]
    return _mapped(context, items, uses_model)


def score_pool(
    context: StageContext[AnyJobInput], model: str, pool: PoolTexts, *, uses_model: bool
) -> ScoredTexts:
    """As `score_texts`, with the members' scores; no process holds more texts than a block's."""
    items = [_Block(model, digest, with_members=True) for digest in pool.blocks]
    return _mapped(context, items, uses_model)


def _mapped(
    context: StageContext[AnyJobInput], items: list[_Block], uses_model: bool
) -> ScoredTexts:
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
    texts = block.texts
    if isinstance(texts, str):
        texts = read_block(context.artifacts, texts)
    try:
        model = FittedRewardModel.from_bytes(data)
        if not block.with_members:
            return {"scores": model.score(*texts), "members": None}
        scores, members = model.score_with_members(*texts)
        return {"scores": scores, "members": members}
    except Exception as error:  # a reward model may fail in any way; only its owner bears it
        return _unusable(f"{type(error).__name__}: {error}")


def _unusable(reason: str) -> dict[str, Any]:
    return {"reason": f"its reward model failed: {reason}"}
