"""From a valuation of all candidates to the outcome that people read."""

from dataclasses import dataclass

import numpy as np

from api_schemas.outcomes import (
    FreshValuation,
    GroupOutcome,
    IncentiveCertificate,
    Outcome,
    WorldOutcome,
)
from workers.mechanism.amounts import largest_gain_micro_units, payment_micro_units
from workers.mechanism.arrays import Floats
from workers.mechanism.candidates import INITIAL, Choice
from workers.mechanism.payments import (
    Counterfactuals,
    Payments,
    negative_payments,
    optimality_gap,
)
from workers.mechanism.worlds import GRAND, PoolGame, WorldValues, membership, welfare
from workers.pool.projection import SMALL_POOL_RATIO, ProjectedModels, support_ratio
from workers.stages.candidates import Candidate
from workers.stages.context import StageContext, world_name
from workers.stages.score import Scores
from workers.stages.solve import SolvedWorld


@dataclass(frozen=True, eq=False)
class Valuation:
    """Everything that is known once all candidates have been valued on the pool.

    `priced` holds the models that the payments price, `choice` the trained ones that each world
    chose; under `closed_form` the two differ.
    """

    game: PoolGame
    scores: Scores
    method: Counterfactuals
    solution: list[SolvedWorld]
    candidates: list[Candidate]
    projected: ProjectedModels
    choice: Choice
    priced: WorldValues
    payments: Payments

    @property
    def delivered(self) -> int:
        """The delivered model's place among the candidates."""
        return int(self.choice.candidate_W[GRAND])

    @property
    def initial_valuations_N(self) -> Floats:
        """vᵢ of the initial model, which is always a candidate."""
        initial = next(k for k, c in enumerate(self.candidates) if c.world == INITIAL)
        values_N: Floats = self.projected.valuations_KN[initial]
        return values_N

    @property
    def initial_welfare_W(self) -> Floats:
        """ASW of the initial model in each world."""
        members_WN = membership(self.game.groups)
        welfare_WK = welfare(
            self.game.sizes_N, self.initial_valuations_N[None], np.zeros(1), members_WN
        )
        return welfare_WK[:, 0]


def build_outcome(
    context: StageContext,
    valuation: Valuation,
    fresh: tuple[FreshValuation, list[float]] | None,
    adapter: str,
) -> Outcome:
    rules, game = context.job.announcement, valuation.game
    worlds = [_priced_world(valuation, world) for world in range(game.worlds)]
    delivered = _trained_world(valuation, GRAND)
    gain = worlds[GRAND].optimality_gap
    price = rules.price_per_unit_micro_units
    pools = context.artifacts.get_json(context.inputs["sample_pool"])
    return Outcome(
        round_id=context.job.round_id,
        announcement_digest=context.job.announcement_digest,
        counterfactuals=rules.counterfactuals,
        payment_rule=rules.payment_rule,
        regularizer=rules.regularizer,
        value_on=rules.value_on,
        pool_prompts=game.log_q_XJ.shape[0],
        pool_samples_per_prompt=game.log_q_XJ.shape[1],
        price_per_unit_micro_units=price,
        currency=rules.currency,
        worlds=worlds,
        groups=_groups(context, valuation, fresh[1] if fresh else None),
        certificate=IncentiveCertificate(
            guarantee=valuation.method.guarantee,
            figures="",
            largest_gain=gain,
            largest_gain_micro_units=largest_gain_micro_units(gain, price),
        ),
        fresh=fresh[0] if fresh else None,
        delivered=delivered,
        warnings=_warnings(valuation, worlds, delivered),
        pool_digest=pools["pool"],
        adapter_digest=adapter,
    )


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
        divergence=best.divergence,
        samples=(best.effective_samples_mean, best.effective_samples_minimum),
        low_support=best.low_support_prompts,
    )


def _trained_world(valuation: Valuation, world: int) -> WorldOutcome:
    k, projected = int(valuation.choice.candidate_W[world]), valuation.projected
    candidate = valuation.candidates[k]
    name = "initial"
    if candidate.world != INITIAL:
        trained = world_name(candidate.world, valuation.scores.group_ids)
        name = f"{trained}@{candidate.step}"
    return _world_outcome(
        valuation,
        world,
        chosen=name,
        welfare_chosen=float(valuation.choice.welfare_W[world]),
        divergence=float(projected.divergence_K[k]),
        samples=(
            float(projected.effective_samples_mean_K[k]),
            float(projected.effective_samples_minimum_K[k]),
        ),
        low_support=int(projected.low_support_prompts_K[k]),
    )


def _world_outcome(
    valuation: Valuation,
    world: int,
    *,
    chosen: str,
    welfare_chosen: float,
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
        welfare_optimum=best.welfare,
        optimality_gap=optimality_gap(best.welfare, welfare_chosen, scale),
        divergence=divergence,
        divergence_optimum=best.divergence,
        effective_samples_mean=samples[0],
        effective_samples_minimum=samples[1],
        low_support_prompts=low_support,
        support_ratio=support_ratio(best.divergence, valuation.game.log_q_XJ.shape[1]),
    )


def _groups(
    context: StageContext, valuation: Valuation, clipped_shares: list[float] | None
) -> list[GroupOutcome]:
    """A line for every report, in the job's order."""
    lines = {
        group.group_id: _group(context, valuation, i, clipped_shares)
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
    context: StageContext, valuation: Valuation, i: int, clipped_shares: list[float] | None
) -> GroupOutcome:
    payments, group = valuation.payments, valuation.scores.groups[i]
    payment = float(payments.payments_N[i])
    return GroupOutcome(
        group_id=group.group_id,
        size=group.size,
        valuation_initial=float(valuation.initial_valuations_N[i]),
        valuation=float(valuation.priced.valuations_WN[GRAND, i]),
        others_welfare_without=float(payments.others_welfare_without_N[i]),
        others_welfare_with=float(payments.others_welfare_with_N[i]),
        payment=payment,
        amount_micro_units=payment_micro_units(
            payment, context.job.announcement.price_per_unit_micro_units
        ),
        utility=float(payments.utilities_N[i]),
        clipped_share=clipped_shares[i] if clipped_shares else None,
    )


def _warnings(
    valuation: Valuation, worlds: list[WorldOutcome], delivered: WorldOutcome
) -> list[str]:
    """What a reader of the outcome must know to trust its figures rightly."""
    samples = valuation.game.log_q_XJ.shape[1]
    found = []
    for world in worlds:
        if world.support_ratio > SMALL_POOL_RATIO:
            wanted = int(np.ceil(20 * np.exp(world.divergence_optimum)))
            found.append(
                f"world {world.world}: its optimum is {world.divergence_optimum:.2f} nats from "
                f"the initial model, near the log {samples} = {np.log(samples):.2f} that the pool "
                f"can show; take at least {wanted} samples a prompt or a larger KL coefficient"
            )
        if world.low_support_prompts:
            found.append(
                f"world {world.world}: low_support on {world.low_support_prompts} prompts, whose "
                "valuation rests on less than 5 % of the pool's samples"
            )
    if delivered.chosen == "initial":
        found.append("no trained model beat the initial model on the pool: that is delivered")
    negative_N = negative_payments(valuation.payments.payments_N, valuation.game.sizes_N)
    found += [negative_payment(valuation, int(i)) for i in np.flatnonzero(negative_N)]
    return found


def negative_payment(valuation: Valuation, i: int) -> str:
    return (
        f"group {valuation.scores.group_ids[i]} has a negative payment, "
        f"{valuation.payments.payments_N[i]:.6g}: the model of the world without it is "
        "under-trained"
    )
