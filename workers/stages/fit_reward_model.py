"""The stage of a reward model that is made ahead of a round: fit it, measure it, draw its card."""

import io
from collections.abc import Callable
from typing import Any

from api_schemas.errors import BadReport, TruthtuneError
from api_schemas.jobs import RewardModelJobInput, StageName
from api_schemas.reward_models import FittedResult, named_files
from workers import plots
from workers.artifacts import raise_if_full
from workers.preferences.comparison import Preferences
from workers.preferences.formats import read_preferences
from workers.rewards import registry
from workers.rewards.interfaces import FitContext, HasMembers
from workers.rewards.probing import probe_fitted
from workers.rewards.registry import FittedRewardModel
from workers.stages.context import StageContext, TaskContext

_STEPS_TOLD = 20


def run(context: StageContext[RewardModelJobInput]) -> str:
    """Leaves `FittedResult`. Raises InvalidInput or BadReport where the data or the spec is at
    fault, and for a model that scores anything but finite numbers.
    """
    spec = context.job.reward_model
    (fitted,) = context.runner.map(
        _fit, [None], uses_model=registry.uses_model(spec), lost=_unusable
    )
    if "reason" in fitted:
        raise BadReport(fitted["reason"], param="reward_model")
    return context.artifacts.put_json(fitted["result"])


def progress_by_share(
    tell: Callable[[StageName, int, int, str], None], stage: StageName, whose: str = ""
) -> Callable[[str, int, int], None]:
    """A fit's `progress` that tells every twentieth of each thing that it counts, and its end."""
    told: dict[str, int] = {}

    def progress(what: str, done: int, total: int) -> None:
        step = done * _STEPS_TOLD // max(1, total)
        if told.get(what) != step:
            told[what] = step
            tell(stage, done, total, f"{what}{whose}")

    return progress


def _unusable(reason: str) -> dict[str, Any]:
    return {"reason": f"the reward model can't be fitted: {reason}"}


def _fit(context: TaskContext[RewardModelJobInput], _item: None) -> dict[str, Any]:
    job = context.job
    # Read first: if the store fails, that is no fault of the data.
    files = {
        each.file_id: context.artifacts.get(job.pinned.files[each.file_id])
        for each in named_files(job.reward_model)
    }
    evaluation = _evaluation(context)
    fitting = FitContext(
        files.__getitem__,
        job.pinned,
        progress_by_share(context.progress, "fit_reward_model"),
        owner=job.owner_id or job.reward_model_id,
    )
    try:
        model = registry.fit(job.reward_model, fitting, evaluation)
        data = model.to_bytes()
        probe_fitted(FittedRewardModel.from_bytes(data))
    except TruthtuneError:
        raise
    except Exception as error:  # a fit may fail in any way, and would again
        raise_if_full(error)
        return _unusable(f"{type(error).__name__}: {error}")
    return {"result": _stored(context, model, data).model_dump(mode="json")}


def _evaluation(context: TaskContext[RewardModelJobInput]) -> Preferences | None:
    file_id = context.job.evaluation_file_id
    if file_id is None:
        return None
    data = context.artifacts.get(context.job.pinned.files[file_id])
    return read_preferences(io.BytesIO(data))


def _stored(
    context: TaskContext[RewardModelJobInput], model: FittedRewardModel, data: bytes
) -> FittedResult:
    card, plot = model.report_card, None
    if card is not None:
        title = f"Report card of {context.job.reward_model_id}, {model.method}"
        plot = context.artifacts.put(plots.report_card_figure(card, title))
    return FittedResult(
        model=context.artifacts.put(data),
        method=model.method,
        uses_model=model.uses_model,
        has_members=isinstance(model.model, HasMembers),
        report_card=card,
        plot_sha256=plot,
    )
