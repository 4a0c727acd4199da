"""Stage 3: every reward model's scores of both pools, as rewards in [0, 1]."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from api_schemas.errors import BadReport
from api_schemas.rounds import RoundCreate
from workers.artifacts import ArtifactStore
from workers.mechanism.arrays import Floats
from workers.mechanism.audit import FittedLie, Lie
from workers.mechanism.normalise import ScoreRange, clipping_error, score_range, to_rewards
from workers.rewards.interfaces import MemberScores
from workers.rewards.member_mixture import (
    MemberMixtureReward,
    largest_disagreement,
    member_ranges,
    mixture,
)
from workers.rewards.registry import FittedRewardModel
from workers.stages.context import StageContext
from workers.stages.exclusions import Exclusions
from workers.stages.pool_texts import PoolTexts, load_texts
from workers.stages.scoring import score_pool
from workers.tensors import pack, unpack


@dataclass(frozen=True)
class ScoredGroup:
    """A group that takes part. `model` is its reward model's digest, `range` is the pool's.

    `holdout_error` is how far the furthest held-out reward lay outside [0, 1] before clipping,
    `member_error` how far a member's reward is from the group's, on both pools, where a model with
    members enters by their aggregate: 0 for others.
    """

    group_id: str
    size: int
    model: str
    range: ScoreRange
    holdout_error: float
    member_error: float = 0.0


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
                # rounds that were settled before there were members are audited too
                g.get("member_error", 0.0),
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
                "member_error": group.member_error,
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


@dataclass(frozen=True, eq=False)
class _Scored:
    """A group's raw scores on both pools, by the model and on the range that are used from here."""

    model: str
    range: ScoreRange
    pool_XJ: Floats
    holdout_XJ: Floats
    member_error: float = 0.0


def run(context: StageContext) -> str:
    """Leaves `Scores`. One task a reward model and block of responses.

    A group whose scores aren't finite is excluded, or fails the round, as announced. Scores of
    the held-out pool are normalised by the training pool's range.
    """
    fitted = context.artifacts.get_json(context.inputs["fit_rewards"])
    pools = load_texts(context.artifacts, context.inputs["sample_pool"])
    rules = context.job.announcement
    exclusions = Exclusions(context, fitted["excluded"])
    groups: list[ScoredGroup] = []
    rewards: tuple[list[Floats], list[Floats]] = ([], [])
    for done, group in enumerate(fitted["groups"], start=1):
        group_id = group["group_id"]
        try:
            scored = _scored(context, group, pools)
            rewards_XJ, _ = to_rewards(scored.pool_XJ, scored.range, group_id)
            holdout_rewards_XJ, _ = to_rewards(scored.holdout_XJ, scored.range, group_id)
            refuse_outside_the_domain(rules, group_id, group["size"], scored.range, rewards_XJ)
        except BadReport as error:
            exclusions.add(group_id, error.message)
            continue
        groups.append(
            ScoredGroup(
                group_id,
                group["size"],
                scored.model,
                scored.range,
                holdout_error=clipping_error(scored.holdout_XJ, scored.range),
                member_error=scored.member_error,
            )
        )
        rewards[0].append(rewards_XJ)
        rewards[1].append(holdout_rewards_XJ)
        context.progress("score", done, len(fitted["groups"]), "reward models")
    exclusions.require_someone_left(len(groups))
    scores = Scores(groups, exclusions.reasons, np.stack(rewards[0]), np.stack(rewards[1]))
    return context.artifacts.put(scores.to_bytes())


def _scored(
    context: StageContext, group: dict[str, Any], pools: tuple[PoolTexts, PoolTexts]
) -> _Scored:
    model, uses_model = group["model"], group["uses_model"]
    found = [score_pool(context, model, pool, uses_model=uses_model) for pool in pools]
    if group["members"] == "mixture":
        return _as_mixture(context, group, pools, [each.members for each in found])
    pool_XJ, holdout_XJ = (
        each.scores.reshape(pool.shape) for each, pool in zip(found, pools, strict=True)
    )
    pool_range = score_range(pool_XJ, group["group_id"])
    scored = _Scored(group["model"], pool_range, pool_XJ, holdout_XJ)
    errors = [
        _member_error(each.members, scores_XJ, pool_range, group["group_id"])
        for each, scores_XJ in zip(found, (pool_XJ, holdout_XJ), strict=True)
    ]
    return replace(scored, member_error=max(errors))


def _member_error(
    members: MemberScores | None, scores_XJ: Floats, pool_range: ScoreRange, group_id: str
) -> float:
    """ε of members that enter by their aggregate; 0 for a model without any."""
    if members is None:
        return 0.0
    rewards_XJ, _ = to_rewards(scores_XJ, pool_range, group_id)
    scores_MXJ = members.scores_MJ.reshape(-1, *scores_XJ.shape)
    return largest_disagreement(scores_MXJ, rewards_XJ, pool_range, group_id)


def _as_mixture(
    context: StageContext,
    group: dict[str, Any],
    pools: tuple[PoolTexts, PoolTexts],
    members: Sequence[MemberScores | None],
) -> _Scored:
    """The members' mixture, stored as a model of its own; its scores are rewards already."""
    on_pool, on_holdout = members
    if on_pool is None or on_holdout is None:
        raise BadReport(f"group {group['group_id']}: its reward model has no members to mix")
    shapes = [pool.shape for pool in pools]
    ranges = member_ranges(on_pool.scores_MJ.reshape(-1, *shapes[0]), group["group_id"])
    inner = FittedRewardModel.from_bytes(context.artifacts.get(group["model"]))
    model = FittedRewardModel(
        "member_mixture", MemberMixtureReward(inner, ranges), inner.report_card
    )
    return _Scored(
        context.artifacts.put(model.to_bytes()),
        ScoreRange(0.0, 1.0),
        mixture(on_pool, ranges).reshape(shapes[0]),
        mixture(on_holdout, ranges).reshape(shapes[1]),
    )


def refuse_outside_the_domain(
    rules: RoundCreate, group_id: str, size: int, found: ScoreRange, rewards_XJ: Floats
) -> None:
    """Refuse what could dodge the surcharge of `revenue_maximizing`, or pay more than it gains.

    The surcharge is what every report of size·largest reward ≥ 1 gains at least. A constant report
    isn't one, nor is a small group's mixture whose members agree on no response. §5 of the docs.
    """
    if rules.payment_rule != "revenue_maximizing":
        return
    if found.constant:
        raise BadReport(
            f"group {group_id}: every response of the pool has the score {found.minimum}; payment "
            "rule 'revenue_maximizing' takes no report without a preference"
        )
    largest = float(rewards_XJ.max())
    if size * largest < 1:
        raise BadReport(
            f"group {group_id}: its members' mixture reaches a reward of {largest:.4g} at most; "
            f"payment rule 'revenue_maximizing' takes no report whose size, {size}, times that is "
            "below 1"
        )
