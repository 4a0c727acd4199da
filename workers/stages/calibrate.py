"""The stage of a quote: a little of everything is run and timed, and extrapolated to the round."""

from api_schemas.jobs import QuoteJobInput
from workers.quoting.calibration import Calibration, calibrate
from workers.quoting.result import quote
from workers.stages.context import StageContext, TaskContext


def run(context: StageContext[QuoteJobInput]) -> str:
    """Leaves `QuoteResult`."""
    (found,) = context.runner.map(_calibrate, [None], uses_model=True)
    job = context.job
    result = quote(
        found,
        job.settings,
        job.announcement.currency,
        shards=context.runner.model_shards,
        train_workers=context.runner.train_workers,
    )
    return context.artifacts.put_json(result.model_dump(mode="json"))


def _calibrate(context: TaskContext[QuoteJobInput], _item: None) -> Calibration:
    job = context.job
    rules = job.announcement
    return calibrate(
        rules,
        rules.base_model_revision,
        context.prompts(),
        job.groups,
        tell=lambda done, total, unit: context.progress("calibrate", done, total, unit),
    )
