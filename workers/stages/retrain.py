"""An audit's second stage: for chosen misreports, the models trained anew; then the whole result.

Only the runs that the report touches are trained again: the others are the round's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from api_schemas.audits import Audited, AuditLine, AuditResult, Misreport
from workers import plots
from workers.mechanism.arrays import Floats
from workers.mechanism.audit import FittedLie, Lie, Told, fit_lie, others_mean
from workers.mechanism.worlds import PoolGame
from workers.pool.projection import value_models
from workers.stages.candidates import INITIAL
from workers.stages.context import StageContext
from workers.stages.replay import audit_line, audit_of
from workers.stages.runs import unchanged_runs
from workers.stages.score import Scores
from workers.stages.solve import load_game
from workers.stages.solve import run as solve
from workers.stages.train import run_name
from workers.stages.valuation import Valuation
from workers.stages.value import value_candidates


@dataclass(frozen=True, eq=False)
class Replayed:
    """The round as it was settled: the game, and the scores it was made of."""

    game: PoolGame
    scores: Scores


def run(context: StageContext) -> str:
    """Leaves `Audited`: the result, and the digest of its plot."""
    replayed = context.artifacts.get_json(context.inputs["replay"])
    truth = [AuditLine.model_validate(line) for line in replayed["truth"]]
    misreports = [AuditLine.model_validate(line) for line in replayed["misreports"]]
    retrained = _retrained(context)
    result = AuditResult(
        truth=truth,
        misreports=misreports,
        refused=[Misreport.model_validate(each) for each in replayed["refused"]],
        retrained=retrained,
        largest_gain=max((line.gain for line in misreports), default=None),
        largest_gain_without_payments=max(
            (line.gain_without_payments for line in misreports), default=None
        ),
        largest_gain_retrained=max((line.gain for line in retrained), default=None),
    )
    title = f"Incentive audit of {context.job.round_id}"
    drawn = context.artifacts.put(plots.audit_figure(result, None, title))
    return context.artifacts.put_json(
        Audited(result=result, plot_sha256=drawn).model_dump(mode="json")
    )


def _retrained(context: StageContext) -> list[AuditLine]:
    points = audit_of(context).settings.retrain
    if not points:
        return []
    truth = Replayed(*load_game(context))
    settled = value_candidates(context, on="pool")
    lines = []
    for done, point in enumerate(points, start=1):
        i = truth.scores.group_ids.index(point.group_id)
        honest = _priced(settled, truth, i)
        told = _trained_again(context, truth, i, point)
        if told is not None:
            lines.append(audit_line(point.group_id, point.strategy, point.parameter, told, honest))
        context.progress("retrain", done, len(points), "misreports trained anew")
    return lines


def _trained_again(context: StageContext, truth: Replayed, i: int, point: Misreport) -> Told | None:
    """What the misreport brings once its models are trained; None if it would be refused."""
    lie = Lie(point.strategy, point.parameter)
    rules = context.job.announcement
    told = lying_scores(truth.scores, i, lie, rules.max_group_size)
    constant = told.lie is not None and told.lie.range.constant
    told = replace(told, reused=unchanged_runs(rules, truth.scores, told, i))
    if constant and rules.payment_rule == "revenue_maximizing":
        return None
    inputs = {**context.inputs, "score": context.artifacts.put(told.to_bytes())}
    lied = replace(context, inputs=inputs)
    inputs["solve"] = solve(lied)
    name = run_name(lied)
    trained = context.runner.train(
        {"sample_pool": inputs["sample_pool"], "score": inputs["score"]}, name
    )
    inputs["train"] = _merged(context, trained, told.reused)
    valuation = value_candidates(replace(context, inputs=inputs), on="pool")
    context.runner.forget_training(name)
    return _priced(valuation, truth, i)


def lying_scores(scores: Scores, i: int, lie: Lie, max_size: int) -> Scores:
    """The scores of a round in which group i tells the lie."""
    fitted = fit_lie(lie, scores.rewards_NXJ[i], others_mean(scores.rewards_NXJ, i))
    size = lie.reported_size(scores.groups[i].size, max_size)
    groups = [
        replace(group, size=size) if place == i else group
        for place, group in enumerate(scores.groups)
    ]
    return replace(
        scores,
        groups=groups,
        rewards_NXJ=_told(fitted, i, scores.rewards_NXJ),
        holdout_rewards_NXJ=_told(fitted, i, scores.holdout_rewards_NXJ),
        liar=i,
        lie=fitted,
    )


def _told(fitted: FittedLie, i: int, rewards_NXJ: Floats) -> Floats:
    told_NXJ = rewards_NXJ.copy()
    told_NXJ[i] = fitted(rewards_NXJ[i], others_mean(rewards_NXJ, i))
    return told_NXJ


def _merged(context: StageContext, trained: str, reused: Sequence[str]) -> str:
    """The round's own adapters that the lie leaves as they are, and those trained anew."""
    before = context.artifacts.get_json(context.inputs["train"])["trained"]
    anew = context.artifacts.get_json(trained)["trained"]
    kept = [each for each in before if each["name"] in reused]
    return context.artifacts.put_json({"trained": [*kept, *anew], "plots": {}})


def _priced(valuation: Valuation, truth: Replayed, i: int) -> Told:
    """What group i gets and pays with the chosen models, by its true rewards and size."""
    log_probs_KXJ = valuation.log_probs_KXJ
    by_truth = value_models(truth.game, log_probs_KXJ, log_probs_KXJ[INITIAL])
    own = float(by_truth.valuations_KN[valuation.delivered, i])
    payment = float(valuation.payments.payments_N[i])
    worth = truth.scores.groups[i].size * own
    size = valuation.scores.groups[i].size
    return Told(size, own, payment, worth - payment, worth)
