"""The stage of a preview: what a report says of a few samples of the initial model.

One task does it all, so that no score, nor a fitted model, is ever stored but within the sealed
result. For the same reason it tells no progress of the fit, keeps no call of a judge, and an
endpoint that is away is a finding, not the job's failure.
"""

from functools import partial

from api_schemas.errors import BadReport
from api_schemas.jobs import PreviewJobInput
from api_schemas.previews import PreviewResult
from workers.artifacts import canonical_json
from workers.language_models.access import sealed
from workers.pool.pool import Pool, sample_pool
from workers.quoting.choice import spread
from workers.rewards.interfaces import no_progress
from workers.rewards.registry import FittedRewardModel
from workers.sealed_results import seal_result
from workers.stages.context import StageContext, TaskContext
from workers.stages.fit_rewards import fit_or_reason, members_of
from workers.stages.sample_scores import score_samples
from workers.stages.score import refuse_outside_the_domain

PROMPTS, SAMPLES = 8, 16
"""Enough to see what a reward model is after; a few seconds on two cores with SmolLM2."""


def run(context: StageContext[PreviewJobInput]) -> str:
    """Leaves a `PreviewResult`, sealed with the job's key: for its author a reward model that can't
    be used is a finding like others, and how it fails may tell what it is."""
    (sealed,) = context.runner.map(_preview, [None], uses_model=True, lost=partial(_lost, context))
    return context.artifacts.put(sealed)


def _lost(context: StageContext[PreviewJobInput], why: str) -> bytes:
    """The process may have died of the report's own reward model, whatever that does."""
    prompts = min(PROMPTS, len(context.prompts()))
    return _sealed(context.job, _excluded(context.job, prompts, f"its reward model failed: {why}"))


def _preview(context: TaskContext[PreviewJobInput], _item: None) -> bytes:
    job = context.job
    lines = spread(context.prompts(), PROMPTS)
    pool = sample_pool(
        context.base_model(),
        lines,
        samples=SAMPLES,
        max_new_tokens=job.announcement.generation.max_new_tokens,
        # Not the pool's own seed: what it holds is nobody's to know before the close.
        labels=(job.announcement.seed, "preview"),
        on_prompt=lambda done, total: context.progress("preview", done, total, "prompts"),
    )
    with sealed():
        model = fit_or_reason(context.artifacts, job.report, no_progress)
        if isinstance(model, str):
            return _sealed(job, _excluded(job, len(lines), model))
        return _sealed(job, _scored(job, pool, model))


def _scored(job: PreviewJobInput, pool: Pool, model: FittedRewardModel) -> PreviewResult:
    report = job.report
    try:
        found = score_samples(model, pool, report.group_id, members_of(report.reward_model))
        refuse_outside_the_domain(
            job.announcement, report.group_id, report.size, found.range, found.rewards_XJ
        )
    except BadReport as error:
        return _excluded(job, len(pool.prompts), error.message)
    except Exception as error:  # a reward model may fail in any way; only its owner bears it
        why = f"its reward model failed: {type(error).__name__}: {error}"
        return _excluded(job, len(pool.prompts), why)
    return PreviewResult(
        prompts=len(pool.prompts),
        responses=pool.lengths_XJ.numel(),
        probe=job.probe,
        excluded=None,
        scored=found.shown(pool),
        warnings=found.warnings(),
    )


def _excluded(job: PreviewJobInput, prompts: int, reason: str) -> PreviewResult:
    return PreviewResult(
        prompts=prompts,
        responses=prompts * SAMPLES,
        probe=job.probe,
        excluded=reason,
        scored=None,
        warnings=[],
    )


def _sealed(job: PreviewJobInput, result: PreviewResult) -> bytes:
    data = canonical_json(result.model_dump(mode="json"))
    return seal_result(job.result_key, job.preview_id, data)
