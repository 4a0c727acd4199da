"""Stage 6: every world's choice and the payments."""

import numpy as np

from api_schemas.errors import RoundFailed
from api_schemas.outcomes import Valued
from workers.mechanism.arrays import Mask
from workers.mechanism.candidates import choose, eligible_candidates
from workers.mechanism.payments import (
    COUNTERFACTUALS,
    affine_maximizer,
    negative_payments,
    priced_worlds,
)
from workers.mechanism.worlds import GRAND, PoolGame
from workers.stages.adapter_files import adapter_digest, store_adapter
from workers.stages.candidates import Candidate, load_candidates, value_on_pool
from workers.stages.context import StageContext
from workers.stages.fresh import value_fresh
from workers.stages.outcome import Valuation, build_outcome, negative_payment
from workers.stages.solve import load_game, load_solution, optimum_values
from workers.stages.train import run_name


def run(context: StageContext) -> str:
    """Leaves `Valued`: the outcome, and the digests of the delivered adapter's files."""
    valuation = _value(context)
    rules = context.job.announcement
    fresh = None
    if rules.pool.fresh_samples_per_prompt:
        fresh = value_fresh(context, valuation.game, valuation.scores, valuation.delivered)
    files = store_adapter(context, valuation.candidates, valuation.delivered)
    outcome = build_outcome(context, valuation, fresh, adapter_digest(files))
    for warning in outcome.warnings:
        context.warn(warning)
    digest = context.artifacts.put_json(
        Valued(outcome=outcome, adapter_files=files).model_dump(mode="json")
    )
    context.runner.forget_training(run_name(context))
    return digest


def _value(context: StageContext) -> Valuation:
    game, scores = load_game(context)
    method = COUNTERFACTUALS[context.job.announcement.counterfactuals]
    solution = load_solution(context.artifacts, context.inputs["solve"])
    candidates = load_candidates(context.artifacts, context.inputs["train"])
    projected = value_on_pool(context, game, candidates)
    choice = choose(
        game.sizes_N,
        projected.valuations_KN,
        game.coefficient * projected.divergence_K,
        _eligible(candidates, game),
    )
    priced = priced_worlds(method, optimum_values(solution, game.coefficient), choice.values)
    payments = affine_maximizer(game.sizes_N, priced)
    valuation = Valuation(
        game, scores, method, solution, candidates, projected, choice, priced, payments
    )
    _refuse_negative(context, valuation)
    return valuation


def _eligible(candidates: list[Candidate], game: PoolGame) -> Mask:
    """Which candidates each world may choose; shape (W, K).

    A group whose rewards are all 0 has touched no training: the world without it is the grand
    world, with the same candidates, so it pays exactly 0.
    """
    mask_WK = eligible_candidates([candidate.world for candidate in candidates], game.groups)
    silent_N = ~game.rewards_NXJ.any(axis=(1, 2))
    mask_WK[1:][silent_N] = mask_WK[GRAND]
    return mask_WK


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
