"""A fitted reward model's scores of many texts, spread over tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from api_schemas.errors import BadReport
from api_schemas.jobs import AnyJobInput
from workers.mechanism.arrays import Floats
from workers.rewards.interfaces import MemberScores
from workers.rewards.registry import FittedRewardModel, saved_method
from workers.stages.context import StageContext, TaskContext
from workers.stages.exclusions import raise_if_services
from workers.stages.pool_texts import PoolTexts, blocks_of, read_block


@dataclass(frozen=True, eq=False)
class ScoredTexts:
    """Raw scores, and those of the members where they were asked for and there are any."""

    scores: Floats
    members: MemberScores | None


_Texts = tuple[list[str], list[str]] | str
"""Prompts and responses, or the digest of a pool's block."""


@dataclass(frozen=True)
class _Share:
    """What one task scores, a block after another."""

    model: str
    blocks: Sequence[_Texts]
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
    model can't be read or fails, but for a failure of machines or of the operator's endpoint, which
    is raised itself; scores that aren't finite are left for the caller to see.
    """
    texts = [
        (prompts[s.start : s.stop], responses[s.start : s.stop]) for s in blocks_of(len(responses))
    ]
    items = _shared_out(context, model, texts, with_members=False)
    return _mapped(context, items, uses_model)


def score_pool(
    context: StageContext[AnyJobInput], model: str, pool: PoolTexts, *, uses_model: bool
) -> ScoredTexts:
    """As `score_texts`, with the members' scores; no process holds more texts than a block's."""
    items = _shared_out(context, model, pool.blocks, with_members=True)
    return _mapped(context, items, uses_model)


def _mapped(
    context: StageContext[AnyJobInput], items: list[_Share], uses_model: bool
) -> ScoredTexts:
    shares = context.runner.map(_score, items, uses_model=uses_model, lost=_unusable)
    parts: list[ScoredTexts] = []
    for share in shares:
        if isinstance(share, str):
            raise BadReport(share)
        parts += share
    return ScoredTexts(
        np.concatenate([part.scores for part in parts]),
        _joined([part.members for part in parts]),
    )


def _joined(parts: list[MemberScores | None]) -> MemberScores | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return MemberScores(known[0].weights_M, np.concatenate([p.scores_MJ for p in known], axis=1))


def _shared_out(
    context: StageContext[AnyJobInput],
    model: str,
    blocks: Sequence[_Texts],
    *,
    with_members: bool,
) -> list[_Share]:
    """A task a block, or one for all of them where the method says so."""
    if _scores_in_one_task(context, model):
        return [_Share(model, blocks, with_members)]
    return [_Share(model, [block], with_members) for block in blocks]


def _scores_in_one_task(context: StageContext[AnyJobInput], model: str) -> bool:
    try:
        with context.artifacts.open(model) as stream:
            method = saved_method(stream.readline())
    except Exception:  # the tasks will tell what is wrong with it
        return False
    return bool(getattr(method, "in_one_task", False))


def _score(context: TaskContext[AnyJobInput], share: _Share) -> list[ScoredTexts] | str:
    """Of each block; or why the model is unusable."""
    data = context.artifacts.get(share.model)
    model, found = None, []
    for block in share.blocks:
        texts = read_block(context.artifacts, block) if isinstance(block, str) else block
        try:
            model = model or FittedRewardModel.from_bytes(data)
            if share.with_members:
                found.append(ScoredTexts(*model.score_with_members(*texts)))
            else:
                found.append(ScoredTexts(model.score(*texts), None))
        except Exception as error:  # a reward model may fail in any way; only its owner bears it
            raise_if_services(error)
            return _unusable(f"{type(error).__name__}: {error}")
    return found


def _unusable(reason: str) -> str:
    return f"its reward model failed: {reason}"
