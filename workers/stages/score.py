"""Stage 3: every reward model's scores of both pools, as rewards in [0, 1]."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from api_schemas.errors import BadReport
from workers.artifacts import ArtifactStore
from workers.mechanism.arrays import Floats
from workers.mechanism.audit import FittedLie, Lie
from workers.mechanism.normalise import ScoreRange, clipping_error, score_range, to_rewards
from workers.pool.pool import Pool
from workers.rewards.registry import FittedRewardModel
from workers.stages.context import StageContext, TaskContext, contiguous_shards
from workers.stages.exclusions import Exclusions
from workers.stages.sample_pool import load_pools
from workers.tensors import pack, unpack

_RESPONSES_PER_TASK = 4096


@dataclass(frozen=True)
class ScoredGroup:
    """A group that takes part. `model` is its reward model's digest, `range` is the pool's.

    `holdout_error` is how far the furthest held-out reward lay outside [0, 1] before clipping.
    """

    group_id: str
    size: int
    model: str
    range: ScoreRange
    holdout_error: float


@dataclass(frozen=True)
class Scores:
    """Rewards of the n groups that take part, in the order of `groups`; others with reasons.

    In an audit group `liar` may tell a lie; sizes and rewards are then as it reports them, and
    `reused` names the round's own runs that the lie doesn't change.
    """

    groups: list[ScoredGroup]
    excluded: dict[str, str]
    rewards_NXJ: Floats
    holdout_rewards_NXJ: Floats
    liar: int | None = None
    lie: FittedLie | None = None
    reused: tuple[str, ...] = ()

    @property
    def sizes_N(self) -> Floats:
        return np.array([group.size for group in self.groups], dtype=np.float64)

    @property
    def group_ids(self) -> list[str]:
        return [group.group_id for group in self.groups]

    @classmethod
    def load(cls, artifacts: ArtifactStore, digest: str) -> "Scores":
        tensors, meta = unpack(artifacts.get(digest))
        groups = [
            ScoredGroup(
                g["group_id"],
                g["size"],
                g["model"],
                ScoreRange(g["minimum"], g["maximum"]),
                g["holdout_error"],
            )
            for g in meta["groups"]
        ]
        return cls(
            groups=groups,
            excluded=meta["excluded"],
            rewards_NXJ=tensors["rewards"].numpy(),
            holdout_rewards_NXJ=tensors["holdout_rewards"].numpy(),
            liar=meta["liar"],
            lie=_lie(meta["lie"]),
            reused=tuple(meta["reused"]),
        )

    def to_bytes(self) -> bytes:
        groups = [
            {
                "group_id": group.group_id,
                "size": group.size,
                "model": group.model,
                "minimum": group.range.minimum,
                "maximum": group.range.maximum,
                "holdout_error": group.holdout_error,
            }
            for group in self.groups
        ]
        return pack(
            {
                "rewards": torch.from_numpy(self.rewards_NXJ),
                "holdout_rewards": torch.from_numpy(self.holdout_rewards_NXJ),
            },
            {
                "groups": groups,
                "excluded": self.excluded,
                "liar": self.liar,
                "lie": asdict(self.lie) if self.lie else None,
                "reused": list(self.reused),
            },
        )


def _lie(told: dict[str, Any] | None) -> FittedLie | None:
    return FittedLie(Lie(**told["lie"]), ScoreRange(**told["range"])) if told else None


def run(context: StageContext) -> str:
    """Leaves `Scores`. One task a reward model and block of responses.

    A group whose scores aren't finite is excluded, or fails the round, as announced. Scores of
    the held-out pool are normalised by the training pool's range.
    """
    fitted = context.artifacts.get_json(context.inputs["fit_rewards"])
    pools = load_pools(context.artifacts, context.inputs["sample_pool"])
    exclusions = Exclusions(context, fitted["excluded"])
    groups: list[ScoredGroup] = []
    rewards: tuple[list[Floats], list[Floats]] = ([], [])
    for done, group in enumerate(fitted["groups"], start=1):
        try:
            pool_XJ, holdout_XJ = (_scores(context, group["model"], pool) for pool in pools)
            found = score_range(pool_XJ, group["group_id"])
            rewards_XJ, _ = to_rewards(pool_XJ, found, group["group_id"])
            holdout_rewards_XJ, _ = to_rewards(holdout_XJ, found, group["group_id"])
            _refuse_outside_the_domain(context, found, group["group_id"])
        except BadReport as error:
            exclusions.add(group["group_id"], error.message)
            continue
        furthest = clipping_error(holdout_XJ, found)
        groups.append(
            ScoredGroup(group["group_id"], group["size"], group["model"], found, furthest)
        )
        rewards[0].append(rewards_XJ)
        rewards[1].append(holdout_rewards_XJ)
        context.progress("score", done, len(fitted["groups"]), "reward models")
    exclusions.require_someone_left(len(groups))
    scores = Scores(groups, exclusions.reasons, np.stack(rewards[0]), np.stack(rewards[1]))
    return context.artifacts.put(scores.to_bytes())


def _refuse_outside_the_domain(context: StageContext, found: ScoreRange, group_id: str) -> None:
    """A constant report could dodge the surcharge of `revenue_maximizing`. docs/mechanism.md §5."""
    if context.job.announcement.payment_rule == "revenue_maximizing" and found.constant:
        raise BadReport(
            f"group {group_id}: every response of the pool has the score {found.minimum}; payment "
            "rule 'revenue_maximizing' takes no report without a preference"
        )


def _scores(context: StageContext, model: str, pool: Pool) -> Floats:
    """Raw scores of one reward model, shape (X, J)."""
    prompts, responses = pool.flat_texts()
    blocks = contiguous_shards(len(responses), -(-len(responses) // _RESPONSES_PER_TASK))
    items = [
        (model, prompts[block.start : block.stop], responses[block.start : block.stop])
        for block in blocks
    ]
    parts = context.runner.map(_score_block, items, uses_model=False, lost=_unusable)
    for part in parts:
        if "reason" in part:
            raise BadReport(part["reason"])
    return np.concatenate([part["scores"] for part in parts]).reshape(pool.lengths_XJ.shape)


def _score_block(context: TaskContext, item: tuple[str, list[str], list[str]]) -> dict[str, Any]:
    digest, prompts, responses = item
    model = FittedRewardModel.from_bytes(context.artifacts.get(digest))
    try:
        return {"scores": model.score(prompts, responses)}
    except Exception as error:  # a reward model may fail in any way; it only excludes its group
        return _unusable(f"{type(error).__name__}: {error}")


def _unusable(reason: str) -> dict[str, Any]:
    return {"reason": f"its reward model failed on the pool: {reason}"}
