"""A group's own rewards on the pool, scored and normalised as its round did."""

from collections.abc import Sequence
from pathlib import Path

from api_schemas.errors import InvalidInput
from api_schemas.reward_models import (
    JudgeSpec,
    PinnedInputs,
    RewardModelSpec,
    TrainedSpec,
    named_base_models,
    named_files,
)
from workers.base_models import resolve
from workers.mechanism.arrays import Floats
from workers.mechanism.normalise import ScoreRange, score_range, to_rewards
from workers.pool.pool import Pool
from workers.rewards import registry
from workers.rewards.interfaces import FitContext
from workers.rewards.member_mixture import member_ranges, mixture
from workers.rewards.registry import FittedRewardModel

_OWN = "of the report"


def own_rewards(spec: RewardModelSpec, data: Sequence[Path], pool: Pool) -> Floats:
    """r(x, y_j) in [0, 1], shape (X, J). docs/mechanism.md §3.

    `data` are the files that the spec names, in its order; of a trained model, its content. Raises
    InvalidInput if there are too few or too many of them, and BadReport as the round would.
    """
    model = _model(spec, data)
    shape = tuple(pool.lengths_XJ.shape)
    if getattr(spec, "members", "aggregate") == "aggregate":
        scores_XJ = model.score(*pool.flat_texts()).reshape(shape)
        return to_rewards(scores_XJ, score_range(scores_XJ, _OWN), _OWN)[0]
    members = model.member_scores(*pool.flat_texts())
    if members is None:
        raise InvalidInput(f"a model of {model.method!r} has no members to mix", param="data")
    ranges = member_ranges(members.scores_MJ.reshape(-1, *shape), _OWN)
    mixed_XJ = mixture(members, ranges).reshape(shape)
    return to_rewards(mixed_XJ, ScoreRange(0.0, 1.0), _OWN)[0]


def _model(spec: RewardModelSpec, data: Sequence[Path]) -> FittedRewardModel:
    if isinstance(spec, JudgeSpec):
        raise InvalidInput(
            "a judge's valuation can't be verified: what it replied is recorded by the service "
            "alone, and asked again it may reply otherwise",
            param="reward_model.type",
        )
    wanted = ["the trained model's content"]
    if not isinstance(spec, TrainedSpec):
        wanted = [each.file_id for each in named_files(spec)]
    if len(data) != len(wanted):
        files = ", ".join(wanted) or "no files"
        raise InvalidInput(
            f"the reward model is made from {files}, and {len(data)} files are given as --data",
            param="data",
        )
    contents = [path.read_bytes() for path in data]
    if isinstance(spec, TrainedSpec):
        return FittedRewardModel.from_bytes(contents[0])
    names = set(named_base_models(spec).values())
    pinned = PinnedInputs(base_models={name: resolve(name).revision for name in names})
    by_id = dict(zip(wanted, contents, strict=True))
    return registry.fit(spec, FitContext(by_id.__getitem__, pinned))
