"""Stage 5: train the worlds that the counterfactual method needs, in one training run."""

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from api_schemas.jobs import ProgressEvent, StageName
from workers.artifacts import ArtifactStore, canonical_json, sha256_of
from workers.mechanism.payments import COUNTERFACTUALS
from workers.mechanism.worlds import GRAND, membership
from workers.pool.randomness import derived_seed
from workers.rewards.group_rewards import GroupRewards
from workers.rewards.registry import FittedRewardModel
from workers.stages.context import StageContext, TaskContext, world_name
from workers.stages.sample_pool import load_pools
from workers.stages.score import Scores
from workers.tensors import pack
from workers.training.registry import TRAINERS
from workers.training.shares import Shares
from workers.training.train_worlds import StepReport, TrainingTask, WorldsTrainer


def run(context: StageContext) -> str:
    """Leaves `[{world, step, state}]`: the best adapter of each world that improved.

    `state` is the digest of the adapter's tensors under PEFT's names. A world that never beat the
    initial model on the held-out pool leaves nothing: the initial model is its candidate anyway.
    """
    inputs: dict[StageName, str] = {
        "sample_pool": context.inputs["sample_pool"],
        "score": context.inputs["score"],
    }
    return context.runner.train(inputs, run_name(context))


def run_name(context: StageContext) -> str:
    """Of the round and all its training depends on: other inputs must not find its checkpoints."""
    inputs = [context.inputs["sample_pool"], context.inputs["score"]]
    digest = sha256_of(canonical_json([context.job.announcement_digest, *inputs]))
    return f"{context.job.round_id}-{digest.removeprefix('sha256:')[:16]}"


def trained_worlds(method: str, scores: Scores) -> list[int]:
    """The worlds to train.

    A world in which every reward is 0 has its optimum in the initial model, and the world without
    a group whose rewards are all 0 is the grand world: neither is trained.
    """
    speaks_N = np.any(scores.rewards_NXJ, axis=(1, 2))
    members_WN = membership(len(scores.groups)).astype(bool)
    return [
        world
        for world in COUNTERFACTUALS[method].trained_worlds(len(scores.groups))
        if (members_WN[world] & speaks_N).any() and (world == GRAND or speaks_N[world - 1])
    ]


def make_task(
    context: TaskContext, inputs: Mapping[StageName, str]
) -> tuple[list[int], TrainingTask]:
    """The worlds to train and the task that trains them, in the same order."""
    rules = context.job.announcement
    pool, holdout = load_pools(context.artifacts, inputs["sample_pool"])
    scores = Scores.load(context.artifacts, inputs["score"])
    worlds = trained_worlds(rules.counterfactuals, scores)
    members_WN = membership(len(scores.groups))[worlds]
    return worlds, TrainingTask(
        settings=rules.training.gradient,
        coefficient=rules.regularizer.coefficient,
        regularizer=rules.regularizer.type,
        seed=derived_seed(rules.seed, "training"),
        max_new_tokens=rules.generation.max_new_tokens,
        prompts=pool.prompts,
        prompt_tokens=pool.prompt_tokens,
        prompt_weights_X=pool.prompt_weights_X,
        weights_WN=members_WN * scores.sizes_N,
        score=group_rewards(context.artifacts, scores),
        holdout=holdout,
        holdout_rewards_NXJ=scores.holdout_rewards_NXJ,
    )


def group_rewards(artifacts: ArtifactStore, scores: Scores) -> GroupRewards:
    return GroupRewards(
        models=[FittedRewardModel.from_bytes(artifacts.get(g.model)) for g in scores.groups],
        ranges=[group.range for group in scores.groups],
    )


def train_loop(
    context: TaskContext,
    inputs: Mapping[StageName, str],
    *,
    shares: Shares | None = None,
    restore: Callable[[WorldsTrainer], None] = lambda trainer: None,
    save: Callable[[WorldsTrainer], None] = lambda trainer: None,
) -> str:
    """Train on one worker among `shares`; the first of them stores and returns the result.

    `restore` puts the trainer where an earlier attempt stopped, `save` keeps where it is.
    """
    worlds, task = make_task(context, inputs)
    if not worlds:
        return context.artifacts.put_json([])
    names = _names(context, inputs, worlds)
    make = TRAINERS[task.settings.method]
    with closing(make(context.base_model(), task, shares)) as trainer:
        restore(trainer)
        first = trainer.shares.rank == 0
        for report in trainer.train(lambda: save(trainer)):
            if first:
                context.tell(_event(report, names, trainer))
        return _store(context.artifacts, trainer, worlds) if first else ""


def _names(context: TaskContext, inputs: Mapping[StageName, str], worlds: list[int]) -> list[str]:
    group_ids = Scores.load(context.artifacts, inputs["score"]).group_ids
    return [world_name(world, group_ids) for world in worlds]


def _store(artifacts: ArtifactStore, trainer: WorldsTrainer, worlds: list[int]) -> str:
    candidates: list[dict[str, Any]] = [
        {"world": world, "step": record.best_step, "state": artifacts.put(pack(state, {}))}
        for world, record in zip(worlds, trainer.records, strict=True)
        if (state := record.best_state) is not None
    ]
    return artifacts.put_json(candidates)


def _event(report: StepReport, names: list[str], trainer: WorldsTrainer) -> ProgressEvent:
    steps = trainer.task.settings.steps
    worlds = [
        {
            "world": names[world],
            "welfare": _rounded(welfare),
            "kl": _rounded(kl),
            "best_step": trainer.records[world].best_step,
            "stopped": trainer.records[world].stopped,
        }
        for world, welfare, kl in zip(report.worlds, report.welfare, report.kl, strict=True)
    ]
    figures = ", ".join(f"{w['world']} ASW {w['welfare']} KL {w['kl']}" for w in worlds)
    return ProgressEvent(
        type="training_step" if report.kind == "rollouts" else "world_evaluated",
        message=f"step {report.step} of {steps}, {report.kind}: {figures}"[:4000],
        data={"stage": "train", "step": report.step, "steps": steps, "worlds": worlds},
    )


def _rounded(value: float) -> float | None:
    """Six digits are plenty for a curve; a world that diverged has no figure."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
