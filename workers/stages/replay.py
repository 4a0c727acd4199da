"""An audit's first stage: every misreport played in closed form on the round's pool."""

from collections.abc import Iterator, Sequence

from api_schemas.audits import AuditCreate, AuditLine, Misreport, Strategy
from api_schemas.base import Schema
from api_schemas.jobs import AuditInput
from workers.mechanism.audit import Lie, Replay, Told
from workers.mechanism.revenue import surcharges
from workers.mechanism.worlds import PoolGame
from workers.stages.context import StageContext
from workers.stages.score import Scores
from workers.stages.solve import load_game


def run(context: StageContext) -> str:
    """Leaves `{truth: [AuditLine], misreports: [AuditLine], refused: [Misreport]}`.

    A lie that `revenue_maximizing` would refuse, for it makes the rewards constant, has no line.
    """
    settings = audit_of(context).settings
    game, scores = load_game(context)
    groups = audited_groups(settings, scores)
    lies = list(settings.misreports())
    truth, misreports, refused = [], [], []
    for done, (i, replay) in enumerate(_replays(context, game, groups), start=1):
        group_id, honest = scores.group_ids[i], replay.truth()
        truth.append(audit_line(group_id, "truth", 1.0, honest, honest))
        for strategy, parameter in lies:
            told = replay.tell(Lie(strategy, parameter))
            if told is None:
                refused.append(Misreport(group_id=group_id, strategy=strategy, parameter=parameter))
            else:
                misreports.append(audit_line(group_id, strategy, parameter, told, honest))
        context.progress("replay", done, len(groups), f"groups, {len(lies)} misreports each")
    lines: dict[str, Sequence[Schema]] = {
        "truth": truth,
        "misreports": misreports,
        "refused": refused,
    }
    return context.artifacts.put_json(
        {name: [line.model_dump(mode="json") for line in found] for name, found in lines.items()}
    )


def audit_of(context: StageContext) -> AuditInput:
    """What the job audits. Raises ValueError for the job of a round."""
    if context.job.audit is None:
        raise ValueError(f"the job of {context.job.round_id} is no audit")
    return context.job.audit


def audited_groups(settings: AuditCreate, scores: Scores) -> list[int]:
    """The places of the groups whose reports change, in closed form or by training anew."""
    retrained = {point.group_id for point in settings.retrain}
    wanted = None if settings.group_ids is None else retrained | set(settings.group_ids)
    return [i for i, name in enumerate(scores.group_ids) if wanted is None or name in wanted]


def audit_line(
    group_id: str, strategy: Strategy | str, parameter: float, told: Told, honest: Told
) -> AuditLine:
    return AuditLine.model_validate(
        {
            "group_id": group_id,
            "strategy": strategy,
            "parameter": parameter,
            "reported_size": told.reported_size,
            "valuation": told.valuation,
            "payment": told.payment,
            "utility": told.utility,
            "utility_without_payments": told.utility_without_payments,
            **told.gains(honest),
        }
    )


def _replays(
    context: StageContext, game: PoolGame, groups: Sequence[int]
) -> Iterator[tuple[int, Replay]]:
    rules = context.job.announcement
    surcharges_N = surcharges(game) if rules.payment_rule == "revenue_maximizing" else None
    for i in groups:
        own = None if surcharges_N is None else float(surcharges_N[i])
        yield i, Replay(game, i, rules.max_group_size, own)
