"""The stages by name."""

from collections.abc import Callable, Mapping
from typing import Any

from api_schemas.jobs import StageName
from workers.stages import (
    calibrate,
    fit_reward_model,
    fit_rewards,
    preview,
    replay,
    rerank,
    retrain,
    sample_pool,
    score,
    solve,
    train,
    value,
)
from workers.stages.context import StageContext

STAGE_FUNCTIONS: Mapping[StageName, Callable[[StageContext[Any]], str]] = {
    "fit_rewards": fit_rewards.run,
    "sample_pool": sample_pool.run,
    "score": score.run,
    "solve": solve.run,
    "train": train.run,
    "value": value.run,
    "replay": replay.run,
    "retrain": retrain.run,
    "fit_reward_model": fit_reward_model.run,
    "rerank": rerank.run,
    "calibrate": calibrate.run,
    "preview": preview.run,
}
"""Each returns the digest of what it leaves. `settle` and `publish` are the coordinator's."""
