"""From a valuation of all candidates to the outcome that people read."""

import numpy as np

from api_schemas.amounts import largest_gain_micro_units, payment_micro_units
from api_schemas.outcomes import (
    GroupOutcome,
    HoldoutValuation,
    IncentiveCertificate,
    Outcome,
    RewardAgreement,
    WorldOutcome,
)
from workers.mechanism.methods import guarantee
from workers.mechanism.mixture import MixtureModels
from workers.mechanism.payments import (
    negative_payments,
    optimality_gap,
    shared_candidates_gain,
)
from workers.mechanism.worlds import GRAND
from workers.pool.projection import SMALL_POOL_RATIO, support_ratio
from workers.rewards.agreement import agreement
from workers.stages.candidates import INITIAL
from workers.stages.context import StageContext, world_name
from workers.stages.fresh import Fresh
from workers.stages.valuation import Valuation


def build_outcome(
    context: StageContext,
    valuation: Valuation,
    fresh: Fresh | None,
    holdout: HoldoutValuation | None,
    adapter: str,
) -> Outcome:
    rules, game = context.job.announcement, valuation.game
    worlds = [_priced_world(valuation, world) for world in range(game.worlds)]
    delivered = _trained_world(valuation, GRAND)
    groups = _groups(context, valuation, worlds, fresh)
    pools = context.artifacts.get_json(context.inputs["sample_pool"])
    return Outcome(
        round_id=context.job.round_id,
        announcement_digest=context.job.announcement_digest,
        counterfactuals=rules.counterfactuals,
        payment_rule=rules.payment_rule,
        regularizer=rules.regularizer,
        value_on="pool" if valuation.valued is valuation.on_pool else "mixture",
        pool_prompts=game.log_q_XJ.shape[0],
        pool_samples_per_prompt=game.log_q_XJ.shape[1],
        price_per_unit_micro_units=rules.price_per_unit_micro_units,
        currency=rules.currency,
        worlds=worlds,
        groups=groups,
        certificate=_certificate(context, valuation, worlds[GRAND]),
        fresh=fresh.valuation if fresh else None,
        holdout=holdout,
        delivered=delivered,
        reward_agreement=_agreement(valuation),
        warnings=_warnings(context, valuation, worlds, delivered),
        pool_digest=pools["pool"],
        adapter_digest=adapter,
    )


def _agreement(valuation: Valuation) -> RewardAgreement | None:
    """Of the reward models on the pool, as they were reported; None for one group alone."""
    if valuation.game.groups < 2:
        return None
    weights_X = valuation.game.prompt_weights_X
    return RewardAgreement(
        group_ids=valuation.scores.group_ids,
        spearman=agreement(valuation.scores.rewards_NXJ, weights_X),
    )


def _certificate(
    context: StageContext, valuation: Valuation, grand: WorldOutcome
) -> IncentiveCertificate:
    """What bounds a false report's gain. The figures are the grand world's, which everyone sees."""
    rules, method = context.job.announcement, valuation.method
    gain = grand.optimality_gap
    if method.shares_candidates:
        welfare_W, initial_W = valuation.choice.welfare_W, valuation.initial_welfare_W
        gain = shared_candidates_gain(gain, welfare_W[1:], initial_W[1:])
    if method.trains == "every_world":
        gain = max(gain, _gain_by_speaking_up(context, valuation))
    prompts, responses = valuation.game.log_q_XJ.shape
    figures = (
        f"The priced model is {grand.optimality_gap:.4g} agent·reward units below the best policy "
        f"of the pool, of {grand.welfare_optimum - grand.welfare_initial:.4g} that could be gained "
        f"over the initial model. {grand.low_support_prompts} of {prompts} prompts rest on less "
        f"than 5 % of their {responses} responses. Your own line says how far your reward model "
        "went beyond its range off the pool and what that adds at most, and how far the model "
        "without you falls short of its own best."
    )
    return IncentiveCertificate(
        guarantee=guarantee(method, rules.payment_rule),
        figures=figures,
        largest_gain=gain,
        largest_gain_micro_units=largest_gain_micro_units(gain, rules.price_per_unit_micro_units),
        estimate=valuation.valued is not valuation.on_pool,
    )


def _gain_by_speaking_up(context: StageContext, valuation: Valuation) -> float:
    """The most that a group without preferences gains by showing some; 0 if all have some.

    Its world is the grand one, so it pays 0. With a preference of its own, ψ₋ᵢ would be the best of
    π₀ and a training without it: the grand training of the others, or under `early_stop` a shorter
    one, of which nothing is known. Its true utility is then −p ≤ ASW* − ASW(ψ₋ᵢ).
    """
    if valuation.game.rewards_NXJ.any(axis=(1, 2)).all():
        return 0.0
    short = context.job.announcement.counterfactuals == "early_stop"
    known = [
        float(valuation.on_pool.welfare_KW[k, GRAND])
        for k, candidate in enumerate(valuation.candidates)
        if k == INITIAL or (candidate.name.startswith("grand@") and not short)
    ]
    return valuation.solution[GRAND].welfare - max(known)


def _priced_world(valuation: Valuation, world: int) -> WorldOutcome:
    method = valuation.method
    exact = method.counterfactuals_exact if world != GRAND else not method.prices_delivered
    return _optimal_world(valuation, world) if exact else _trained_world(valuation, world)


def _optimal_world(valuation: Valuation, world: int) -> WorldOutcome:
    best = valuation.solution[world]
    return _world_outcome(
        valuation,
        world,
        chosen="pool_optimum",
        welfare_chosen=best.welfare,
        standard_error=None,
        welfare_on_pool=best.welfare,
        divergence=best.divergence,
        samples=(best.effective_samples_mean, best.effective_samples_minimum),
        low_support=best.low_support_prompts,
    )


def _trained_world(valuation: Valuation, world: int) -> WorldOutcome:
    k, valued = int(valuation.choice.candidate_W[world]), valuation.valued
    return _world_outcome(
        valuation,
        world,
        chosen=valuation.candidates[k].name,
        welfare_chosen=float(valuation.choice.welfare_W[world]),
        standard_error=_mixture_error(valuation, k, world),
        welfare_on_pool=float(valuation.on_pool.welfare_KW[k, world]),
        divergence=float(valued.divergence_K[k]),
        samples=(
            float(valued.effective_samples_mean_K[k]),
            float(valued.effective_samples_minimum_K[k]),
        ),
        low_support=int(valued.low_support_prompts_K[k]),
    )


def _mixture_error(valuation: Valuation, k: int, world: int) -> float | None:
    """Standard error of a model's welfare where samples decide it; the pool has none."""
    if not isinstance(valuation.valued, MixtureModels):
        return None
    return float(valuation.valued.welfare_standard_error_KW[k, world])


def _world_outcome(
    valuation: Valuation,
    world: int,
    *,
    chosen: str,
    welfare_chosen: float,
    standard_error: float | None,
    welfare_on_pool: float,
    divergence: float,
    samples: tuple[float, float],
    low_support: int,
) -> WorldOutcome:
    best, ids = valuation.solution[world], valuation.scores.group_ids
    scale = float(valuation.game.sizes_N.sum())
    return WorldOutcome(
        world=world_name(world, ids),
        without_group_id=None if world == GRAND else ids[world - 1],
        chosen=chosen,
        welfare_initial=float(valuation.initial_welfare_W[world]),
        welfare=welfare_chosen,
        welfare_standard_error=standard_error,
        welfare_optimum=best.welfare,
        optimality_gap=optimality_gap(best.welfare, welfare_on_pool, scale),
        divergence=divergence,
        divergence_optimum=best.divergence,
        effective_samples_mean=samples[0],
        effective_samples_minimum=samples[1],
        low_support_prompts=low_support,
        support_ratio=support_ratio(best.kl, valuation.game.log_q_XJ.shape[1]),
    )


def _groups(
    context: StageContext,
    valuation: Valuation,
    worlds: list[WorldOutcome],
    fresh: Fresh | None,
) -> list[GroupOutcome]:
    """A line for every report, in the job's order."""
    lines = {
        group.group_id: _group(context, valuation, worlds, i, fresh)
        for i, group in enumerate(valuation.scores.groups)
    }
    for report in context.job.reports:
        if report.group_id in valuation.scores.excluded:
            lines[report.group_id] = GroupOutcome(
                group_id=report.group_id,
                size=report.size,
                excluded=valuation.scores.excluded[report.group_id],
            )
    return [lines[report.group_id] for report in context.job.reports]


def _group(
    context: StageContext,
    valuation: Valuation,
    worlds: list[WorldOutcome],
    i: int,
    fresh: Fresh | None,
) -> GroupOutcome:
    payments, group = valuation.payments, valuation.scores.groups[i]
    payment = float(payments.payments_N[i])
    surcharges_N = payments.surcharges_N
    errors = [group.holdout_error, group.member_error, float(valuation.mixture_errors_N[i])]
    error = max(*errors, float(fresh.errors_N[i]) if fresh else 0.0)
    return GroupOutcome(
        group_id=group.group_id,
        size=group.size,
        valuation_initial=float(valuation.initial_valuations_N[i]),
        valuation=float(valuation.priced.valuations_WN[GRAND, i]),
        others_welfare_without=float(payments.others_welfare_without_N[i]),
        others_welfare_with=float(payments.others_welfare_with_N[i]),
        counterfactual_gap=worlds[1 + i].optimality_gap,
        surcharge=None if surcharges_N is None else float(surcharges_N[i]),
        payment=payment,
        amount_micro_units=payment_micro_units(
            payment, context.job.announcement.price_per_unit_micro_units
        ),
        utility=float(payments.utilities_N[i]),
        clipped_share=float(fresh.clipped_N[i]) if fresh else None,
        reward_error=error,
        reward_error_bound=2 * group.size * error,
    )


def _warnings(
    context: StageContext, valuation: Valuation, worlds: list[WorldOutcome], delivered: WorldOutcome
) -> list[str]:
    """What a reader of the outcome must know to trust its figures rightly."""
    samples = valuation.game.log_q_XJ.shape[1]
    found = []
    for world in worlds:
        if world.support_ratio > SMALL_POOL_RATIO:
            kl = world.support_ratio * float(np.log(samples))
            wanted = int(np.ceil(20 * np.exp(kl)))
            found.append(
                f"world {world.world}: its optimum is {kl:.2f} nats from "
                f"the initial model, near the log {samples} = {np.log(samples):.2f} that the pool "
                f"can show; take at least {wanted} samples a prompt or a larger KL coefficient"
            )
        if world.low_support_prompts:
            found.append(
                f"world {world.world}: low_support on {world.low_support_prompts} prompts, whose "
                "valuation rests on less than 5 % of the pool's samples"
            )
    found += _basis_warnings(context, valuation)
    if delivered.chosen == valuation.candidates[INITIAL].name:
        found.append("no trained model beat the initial model on the pool: that is delivered")
    negative_N = negative_payments(valuation.payments.payments_N, valuation.game.sizes_N)
    found += [negative_payment(valuation, int(i)) for i in np.flatnonzero(negative_N)]
    return found


def _basis_warnings(context: StageContext, valuation: Valuation) -> list[str]:
    """What the announced valuation can't carry."""
    rules = context.job.announcement
    found = []
    if rules.value_on == "mixture":
        found.append(
            "models were valued on samples of their own too: a payment's first term depends on the "
            "payer's report through sampling noise, and the certificate is an estimate"
            if valuation.valued is not valuation.on_pool
            else "models were valued on the pool: nothing was trained that beat the initial model, "
            "or a reward model failed on the mixture's samples"
        )
    if rules.regularizer.type == "l2" and rules.pool.method == "sample":
        found.append(
            "under l2 the pool's distance counts its responses; that of whole models, over all "
            "responses they could give, is far smaller"
        )
    return found


def negative_payment(valuation: Valuation, i: int) -> str:
    return (
        f"group {valuation.scores.group_ids[i]} has a negative payment, "
        f"{valuation.payments.payments_N[i]:.6g}: the model of the world without it is "
        "under-trained"
    )
