"""Stage 6: every world's choice and the payments."""

import numpy as np

from api_schemas.errors import RoundFailed
from api_schemas.models import adapter_digest
from api_schemas.outcomes import HoldoutValuation, Valued
from api_schemas.rounds import ValuationBasis
from workers.mechanism import closed_form
from workers.mechanism.arrays import Mask
from workers.mechanism.candidates import choose, eligible_candidates
from workers.mechanism.methods import COUNTERFACTUALS, Counterfactuals, priced_worlds
from workers.mechanism.mixture import MixtureModels
from workers.mechanism.payments import (
    Payments,
    affine_maximizer,
    negative_payments,
    optimality_gap,
)
from workers.mechanism.revenue import revenue_maximizing, surcharges
from workers.mechanism.worlds import GRAND, PoolGame, WorldValues
from workers.pool.projection import ProjectedModels
from workers.stages.adapter_files import store_adapter
from workers.stages.candidates import (
    INITIAL,
    Candidate,
    candidates_of,
    touched,
    value_on_pool,
)
from workers.stages.context import StageContext
from workers.stages.fresh import value_fresh
from workers.stages.mixture import value_on_mixture
from workers.stages.outcome import build_outcome, negative_payment
from workers.stages.solve import load_game, load_holdout_game, load_solution, optimum_values
from workers.stages.train import run_name
from workers.stages.valuation import Valuation


def run(context: StageContext) -> str:
    """Leaves `Valued`: the outcome, and the digests of the delivered adapter's files."""
    rules = context.job.announcement
    valuation = value_candidates(context, on=rules.value_on)
    _refuse_negative(context, valuation)
    fresh = None
    if rules.pool.fresh_samples_per_prompt:
        fresh = value_fresh(
            context,
            valuation.game,
            valuation.scores,
            valuation.delivered,
            valuation.log_probs_KXJ[INITIAL],
        )
    holdout = _value_holdout(context, valuation)
    files = store_adapter(context, valuation.candidates, valuation.delivered)
    outcome = build_outcome(context, valuation, fresh, holdout, adapter_digest(files))
    for warning in outcome.warnings:
        context.warn(warning)
    digest = context.artifacts.put_json(
        Valued(outcome=outcome, adapter_files=files).model_dump(mode="json")
    )
    context.runner.forget_training(run_name(context))
    return digest


def value_candidates(context: StageContext, on: ValuationBasis) -> Valuation:
    """Every candidate's value, every world's choice among them, and the payments."""
    rules = context.job.announcement
    game, scores = load_game(context)
    method = COUNTERFACTUALS[rules.counterfactuals]
    solution = load_solution(context.artifacts, context.inputs["solve"])
    candidates = candidates_of(context, dict(context.inputs))
    on_pool, log_probs_KXJ = value_on_pool(context, game)
    valued: ProjectedModels | MixtureModels = on_pool
    mixture_errors_N = np.zeros(game.groups)
    if on == "mixture":
        mixed = value_on_mixture(context, game, candidates, log_probs_KXJ)
        if mixed is not None:
            valued, mixture_errors_N = mixed
    choice = choose(
        game.sizes_N,
        valued.valuations_KN,
        game.coefficient * valued.divergence_K,
        _eligible(method, candidates, game.groups),
    )
    priced = priced_worlds(method, optimum_values(solution, game.coefficient), choice.values)
    return Valuation(
        game=game,
        scores=scores,
        method=method,
        solution=solution,
        candidates=candidates,
        on_pool=on_pool,
        valued=valued,
        choice=choice,
        priced=priced,
        payments=_payments(rules.payment_rule, game, priced),
        log_probs_KXJ=log_probs_KXJ,
        mixture_errors_N=mixture_errors_N,
    )


def _eligible(method: Counterfactuals, candidates: list[Candidate], groups: int) -> Mask:
    """Which candidates each world may choose, shape (W, K)."""
    if method.shares_candidates:
        return np.ones((groups + 1, len(candidates)), dtype=bool)
    return eligible_candidates(touched(candidates, groups))


def _payments(rule: str, game: PoolGame, priced: WorldValues) -> Payments:
    payments = affine_maximizer(game.sizes_N, priced)
    if rule == "revenue_maximizing":
        return revenue_maximizing(payments, surcharges(game))
    return payments


def _value_holdout(context: StageContext, valuation: Valuation) -> HoldoutValuation | None:
    """The delivered model on the held-out pool; None where that is the pool itself."""
    if context.job.announcement.pool.method == "enumerate":
        return None
    game = load_holdout_game(context)
    places = sorted({INITIAL, valuation.delivered})
    models, _ = value_on_pool(context, game, places, kind="holdout")
    delivered = places.index(valuation.delivered)
    best = closed_form.optimum(game)
    welfare_K = models.welfare_KW[:, GRAND]
    scale = float(game.sizes_N.sum())
    return HoldoutValuation(
        welfare=float(welfare_K[delivered]),
        welfare_initial=float(welfare_K[INITIAL]),
        welfare_optimum=best.welfare,
        optimality_gap=optimality_gap(best.welfare, float(welfare_K[delivered]), scale),
        divergence=float(models.divergence_K[delivered]),
    )


def _refuse_negative(context: StageContext, valuation: Valuation) -> None:
    """Under the policy `fail`: tell the operator whose payment is negative, and fail the round."""
    payments_N, sizes_N = valuation.payments.payments_N, valuation.game.sizes_N
    negative_N = negative_payments(payments_N, sizes_N)
    if context.job.announcement.on_negative_payment == "fail" and negative_N.any():
        for i in np.flatnonzero(negative_N):
            context.warn(negative_payment(valuation, int(i)))
        raise RoundFailed(
            "a payment is negative, because the model of a world without a group is under-trained, "
            "and on_negative_payment is 'fail'; the job's events tell the operator whose",
            code="negative_payment",
        )
