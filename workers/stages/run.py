"""The stages by name."""

from collections.abc import Callable, Mapping
from typing import Any

from api_schemas.jobs import StageName
from workers.stages import (
    calibrate,
    evaluate,
    fine_tune,
    fit_reward_model,
    fit_rewards,
    optimize_prompt,
    preview,
    replay,
    rerank,
    retrain,
    sample_pool,
    score,
    solve,
    train,
    value,
    write_answers,
    write_questions,
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
    "write_questions": write_questions.run,
    "optimize_prompt": optimize_prompt.run,
    "write_answers": write_answers.run,
    "fine_tune": fine_tune.run,
    "evaluate": evaluate.run,
}
"""Each returns the digest of what it leaves. `settle` and `publish` are the coordinator's."""
