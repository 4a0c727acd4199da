"""Stage 1: a reward model for each report, one task a report."""

from typing import Any

from api_schemas.errors import TruthtuneError
from api_schemas.jobs import ReportInput
from workers.rewards import registry
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

    def load_file(_file_id: str) -> bytes:
        if report.data_sha256 is None:
            raise ValueError(f"the report of {report.group_id} came without its file's digest")
        return context.artifacts.get(report.data_sha256)

    try:
        model = registry.fit(report.reward_model, load_file)
    except TruthtuneError as error:
        return {"reason": f"group {report.group_id}: {error.message}"}
    except Exception as error:  # whatever a report does to its own fit, it must not stop the round
        return _unusable(f"fitting failed with {type(error).__name__}: {error}")
    card = model.report_card
    return {
        "model": context.artifacts.put(model.to_bytes()),
        "report_card": card.model_dump(mode="json") if card else None,
    }
