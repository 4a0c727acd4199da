"""Stage 1: a reward model for each report, one task a report."""

from typing import Any

from api_schemas.errors import TruthtuneError
from api_schemas.jobs import ReportInput
from api_schemas.reward_models import TrainedSpec
from workers.rewards import registry
from workers.rewards.interfaces import FitContext
from workers.rewards.registry import FittedRewardModel
from workers.stages.context import StageContext, TaskContext
from workers.stages.exclusions import Exclusions


def run(context: StageContext) -> str:
    """Leaves `{groups: [{group_id, size, model, report_card}], excluded: {group_id: reason}}`.

    `model` is the digest of the fitted model's bytes. A report whose model can't be fitted is
    excluded, or fails the round, as announced.
    """
    reports = context.job.reports
    fitted = context.runner.map(_fit, reports, uses_model=False, lost=_unusable)
    exclusions = Exclusions(context)
    groups = []
    for done, (report, result) in enumerate(zip(reports, fitted, strict=True), start=1):
        if "reason" in result:
            exclusions.add(report.group_id, result["reason"])
        else:
            groups.append({"group_id": report.group_id, "size": report.size, **result})
        context.progress("fit_rewards", done, len(reports), "reports")
    exclusions.require_someone_left(len(groups))
    return context.artifacts.put_json({"groups": groups, "excluded": exclusions.reasons})


def _unusable(reason: str) -> dict[str, Any]:
    return {"reason": f"its reward model can't be fitted: {reason}"}


def _fit(context: TaskContext, report: ReportInput) -> dict[str, Any]:
    """The fitted model's digest and report card, or the reason why there is none."""

    if isinstance(report.reward_model, TrainedSpec):
        return _trained(context, report, report.reward_model)
    pinned = report.pinned
    fitting = FitContext(lambda file_id: context.artifacts.get(pinned.files[file_id]), pinned)
    try:
        model = registry.fit(report.reward_model, fitting)
    except TruthtuneError as error:
        return {"reason": f"group {report.group_id}: {error.message}"}
    except Exception as error:  # whatever a report does to its own fit, it must not stop the round
        return _unusable(f"fitting failed with {type(error).__name__}: {error}")
    card = model.report_card
    return {
        "model": context.artifacts.put(model.to_bytes()),
        "report_card": card.model_dump(mode="json") if card else None,
    }


def _trained(context: TaskContext, report: ReportInput, spec: TrainedSpec) -> dict[str, Any]:
    """A reward model that was made ahead: its bytes are what was pinned."""
    digest = report.pinned.reward_models[spec.reward_model_id]
    card = FittedRewardModel.from_bytes(context.artifacts.get(digest)).report_card
    return {"model": digest, "report_card": card.model_dump(mode="json") if card else None}
