"""Stage 5: train the models that the announced methods need, in one training run."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from api_schemas.jobs import ProgressEvent, StageName
from workers import plots
from workers.artifacts import ArtifactStore, canonical_json, sha256_of
from workers.pool.randomness import derived_seed
from workers.rewards.group_rewards import GroupRewards
from workers.rewards.lying_rewards import LyingRewards
from workers.rewards.registry import FittedRewardModel
from workers.stages.context import StageContext, TaskContext
from workers.stages.runs import Run, derived_from, runs
from workers.stages.sample_pool import load_pools
from workers.stages.score import Scores
from workers.tensors import pack
from workers.training.registry import TRAINERS
from workers.training.shares import Shares
from workers.training.task import TrainingTask
from workers.training.train_worlds import StepReport, WorldsTrainer


def run(context: StageContext) -> str:
    """Leaves `{trained: [{name, groups, step, state, derived_from}], plots: {reward_drift}}`.

    `state` is the digest of an adapter's tensors under PEFT's names, `groups` are the places of the
    groups it was trained on, `derived_from` the digests of what they reported. A run that never
    beat the initial model on the held-out pool leaves nothing: that is a candidate anyway.
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


def make_task(
    context: TaskContext, inputs: Mapping[StageName, str]
) -> tuple[list[Run], TrainingTask]:
    """The runs and the task that trains them, in the same order."""
    rules = context.job.announcement
    pool, holdout = load_pools(context.artifacts, inputs["sample_pool"])
    scores = Scores.load(context.artifacts, inputs["score"])
    found = runs(rules, scores)
    return found, TrainingTask(
        settings=rules.training.gradient,
        coefficient=rules.regularizer.coefficient,
        regularizer=rules.regularizer.type,
        seed=derived_seed(rules.seed, "training"),
        max_new_tokens=rules.generation.max_new_tokens,
        prompts=pool.prompts,
        prompt_tokens=pool.prompt_tokens,
        prompt_weights_X=pool.prompt_weights_X,
        weights_WN=np.array([each.weights_N for each in found]),
        steps_W=[each.steps for each in found],
        score=_reported_rewards(context.artifacts, scores),
        pool=pool,
        pool_rewards_NXJ=scores.rewards_NXJ,
        holdout=holdout,
        holdout_rewards_NXJ=scores.holdout_rewards_NXJ,
        keep_checkpoints=rules.counterfactuals == "checkpoints",
    )


def group_rewards(artifacts: ArtifactStore, scores: Scores) -> GroupRewards:
    """The groups' reward models as they are reported, on the scale of the pool."""
    return GroupRewards(
        models=[FittedRewardModel.from_bytes(artifacts.get(g.model)) for g in scores.groups],
        ranges=[group.range for group in scores.groups],
    )


def _reported_rewards(artifacts: ArtifactStore, scores: Scores) -> GroupRewards | LyingRewards:
    honest = group_rewards(artifacts, scores)
    if scores.liar is None or scores.lie is None:
        return honest
    return LyingRewards(honest, scores.liar, scores.lie)


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
    found, task = make_task(context, inputs)
    if not found:
        return context.artifacts.put_json({"trained": [], "plots": {}})
    names = [each.name for each in found]
    make = TRAINERS[task.settings.method]
    with closing(make(context.base_model(), task, shares)) as trainer:
        restore(trainer)
        first = trainer.shares.rank == 0
        for report in trainer.train(lambda: save(trainer)):
            if first:
                context.tell(_event(report, names, trainer))
        context.count_tokens("train", trainer.tokens)
        return _store(context, inputs, trainer, found) if first else ""


def _store(
    context: TaskContext,
    inputs: Mapping[StageName, str],
    trainer: WorldsTrainer,
    found: Sequence[Run],
) -> str:
    artifacts = context.artifacts
    scores = Scores.load(artifacts, inputs["score"])
    trained: list[dict[str, Any]] = []
    for each, record in zip(found, trainer.records, strict=True):
        kept = list(record.checkpoints)
        if not kept and record.best_state is not None:
            kept = [(record.best_step, record.best_state)]
        trained += [
            {
                "name": each.name,
                "groups": each.members,
                "step": step,
                "state": artifacts.put(pack(state, {})),
                "derived_from": derived_from(each, scores, context.job.reports),
            }
            for step, state in kept
        ]
    curves = [
        plots.Curve(
            each.name,
            [at.divergence for at in record.history],
            [at.reward for at in record.history],
        )
        for each, record in zip(found, trainer.records, strict=True)
    ]
    drawn = artifacts.put(plots.reward_drift_figure(curves, trainer.task.regularizer))
    return artifacts.put_json({"trained": trained, "plots": {"reward_drift": drawn}})


def _event(report: StepReport, names: list[str], trainer: WorldsTrainer) -> ProgressEvent:
    steps = trainer.task.settings.steps
    worlds = [
        {
            "world": names[world],
            "welfare": _rounded(welfare),
            "reward": _rounded(reward),
            "divergence": _rounded(divergence),
            "best_step": trainer.records[world].best_step,
            "stopped": trainer.records[world].stopped,
        }
        for world, welfare, reward, divergence in zip(
            report.worlds, report.welfare, report.reward, report.divergence, strict=True
        )
    ]
    unit = trainer.task.regularizer.upper()
    figures = ", ".join(f"{w['world']} ASW {w['welfare']} {unit} {w['divergence']}" for w in worlds)
    return ProgressEvent(
        type="world_evaluated" if report.kind == "holdout" else "training_step",
        message=f"step {report.step} of {steps}, {report.kind}: {figures}"[:4000],
        data={"stage": "train", "step": report.step, "steps": steps, "worlds": worlds},
    )


def _rounded(value: float) -> float | None:
    """Six digits are plenty for a curve; a world that diverged has no figure."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
