"""Stage 1: a reward model for each report, one task a report."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from api_schemas.errors import TruthtuneError
from api_schemas.jobs import ReportInput
from api_schemas.reward_models import Members, RewardModelSpec, TrainedSpec, named_files
from workers.artifacts import ArtifactStore
from workers.rewards import registry
from workers.rewards.interfaces import FitContext, HasMembers, Progress
from workers.rewards.registry import FittedRewardModel
from workers.stages.context import StageContext, TaskContext
from workers.stages.exclusions import Exclusions, raise_if_services
from workers.stages.fit_reward_model import progress_by_share

Found = TypeVar("Found")


def run(context: StageContext) -> str:
    """Leaves `{groups: [{group_id, size, model, uses_model, members, report_card}], excluded:
    {group_id: reason}}`.

    `model` is the digest of the fitted model's bytes, `members` says whether they enter as a
    mixture. A report whose model can't be fitted is excluded, or fails the round, as announced.
    """
    reports = context.job.reports
    fitted = _fit_all(context, reports)
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


def _fit_all(context: StageContext, reports: Sequence[ReportInput]) -> list[dict[str, Any]]:
    """In the reports' order. Light fits go on a core each, neural ones get a GPU or all cores."""
    neural = [_fits_neurally(report.reward_model) for report in reports]
    found: dict[str, dict[str, Any]] = {}
    for uses_model in (False, True):
        chosen = [
            each for each, is_one in zip(reports, neural, strict=True) if is_one is uses_model
        ]
        results = context.runner.map(_fit, chosen, uses_model=uses_model, lost=_unusable)
        found |= {each.group_id: result for each, result in zip(chosen, results, strict=True)}
    return [found[report.group_id] for report in reports]


def _fits_neurally(spec: RewardModelSpec) -> bool:
    """A model that was made ahead is not fitted again."""
    return not isinstance(spec, TrainedSpec) and registry.uses_model(spec)


def _unusable(reason: str) -> dict[str, Any]:
    return {"reason": _reason(reason)}


def _reason(why: str) -> str:
    return f"its reward model can't be fitted: {why}"


def _fit(context: TaskContext, report: ReportInput) -> dict[str, Any]:
    """The fitted model's digest and report card, or the reason why there is none."""
    progress = progress_by_share(context.progress, "fit_rewards", f" of {report.group_id}")

    def work() -> dict[str, Any] | str:
        model = _fitted(context.artifacts, report, progress)
        return model if isinstance(model, str) else _stored(context, report, model)

    found = _or_reason(report, work)
    return {"reason": found} if isinstance(found, str) else found


def fit_or_reason(
    artifacts: ArtifactStore, report: ReportInput, progress: Progress
) -> FittedRewardModel | str:
    """The report's reward model, or the reason why the report is excluded. Stores nothing."""
    return _or_reason(report, lambda: _fitted(artifacts, report, progress))


def _or_reason(report: ReportInput, work: Callable[[], Found | str]) -> Found | str:
    """What `work` gives, or the reason why the report is excluded."""
    try:
        return work()
    except TruthtuneError as error:
        raise_if_services(error)
        return f"group {report.group_id}: {error.message}"
    except Exception as error:  # whatever a report does to its own fit, it must not stop the round
        raise_if_services(error)
        return _reason(f"fitting failed with {type(error).__name__}: {error}")


def _fitted(
    artifacts: ArtifactStore, report: ReportInput, progress: Progress
) -> FittedRewardModel | str:
    spec, pinned = report.reward_model, report.pinned
    if isinstance(spec, TrainedSpec):
        digest = pinned.reward_models[spec.reward_model_id]
        model = FittedRewardModel.from_bytes(artifacts.get(digest))
    else:
        files = {
            each.file_id: artifacts.get(pinned.files[each.file_id]) for each in named_files(spec)
        }
        model = registry.fit(
            spec, FitContext(files.__getitem__, pinned, progress, owner=report.group_id)
        )
    if members_of(spec) == "mixture" and not isinstance(model.model, HasMembers):
        return _reason(f"members 'mixture': a model of {model.method!r} has no members")
    return model


def members_of(spec: RewardModelSpec) -> Members:
    """How the members of a model that has any enter the round."""
    members: Members = getattr(spec, "members", "aggregate")
    return members


def _stored(context: TaskContext, report: ReportInput, model: FittedRewardModel) -> dict[str, Any]:
    spec, card = report.reward_model, model.report_card
    if isinstance(spec, TrainedSpec):  # it is stored already
        digest = report.pinned.reward_models[spec.reward_model_id]
    else:
        digest = context.artifacts.put(model.to_bytes())
    return {
        "model": digest,
        "uses_model": model.uses_model,
        "members": members_of(spec),
        "report_card": card.model_dump(mode="json") if card else None,
    }
