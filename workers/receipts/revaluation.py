"""A receipt's valuation and divergence, computed again from the adapter, the pool and the report.

    v = E_x Σ_j π_θ(j|x) r(x, j),  D = E_x D(π_θ ‖ q),  π_θ ∝ q·exp(log π_θ − log π₀)

Source: docs/mechanism.md §2. Where the priced model is not the delivered one, bounds are checked.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from api_schemas.errors import InvalidInput
from api_schemas.ledger import ReceiptBody
from api_schemas.receipt_checks import Finding, Revaluation, compared, failed, not_checked
from workers.base_models import BaseModel, default_device, load
from workers.mechanism.arrays import Floats
from workers.mechanism.methods import COUNTERFACTUALS
from workers.mechanism.tilting import tilt
from workers.mechanism.worlds import PoolGame
from workers.pool.pool import Pool, response_texts
from workers.pool.projection import ProjectedModels, value_models
from workers.receipts.delivered import log_probs
from workers.receipts.own_rewards import own_rewards

_VALUATION, _DIVERGENCE = "valuation", "divergence"
_DIVERGENCE_TOLERANCES = 5
"""Rounding of log-probabilities adds half its variance to a KL, more than it moves a mean reward:
with SmolLM2-135M in bfloat16 against float32, 0.02 nats against 0.003 (6 prompts × 24 responses).
"""
_SCALES = np.geomspace(1e-3, 1e3, 121)


def revalue(
    stated: Revaluation, adapter: Path, pool_file: Path, data: Sequence[Path], tolerance: float
) -> list[Finding]:
    """Findings on the pool, the valuation and the divergence.

    `tolerance`: of a valuation, in [0, 1]; of a divergence five times as much, relative to the
    larger of it and 1.
    """
    rules = stated.announcement
    try:
        base = load(rules.base_model, rules.base_model_revision, str(default_device()))
    except InvalidInput as error:
        return [not_checked(_VALUATION, error.message)]
    try:
        return _findings(stated, base, adapter, pool_file, data, tolerance)
    except Exception as error:  # their digests are signed: nobody but the service made them so
        reason = f"{type(error).__name__}: {error}"
        return [failed(_VALUATION, f"adapter and pool can't be valued: {reason}")]


def _findings(
    stated: Revaluation,
    base: BaseModel,
    adapter: Path,
    pool_file: Path,
    data: Sequence[Path],
    tolerance: float,
) -> list[Finding]:
    pool = Pool.from_bytes(pool_file.read_bytes())
    log_theta_XJ, log_base_XJ = log_probs(base, adapter, pool)
    findings = [_texts(base, pool), _weights(stated, pool, log_base_XJ, tolerance)]
    try:
        rewards_XJ = own_rewards(stated.report.reward_model, data, pool)
    except Exception as error:  # the reader's own files and reward model, which may fail in any way
        return [*findings, not_checked(_VALUATION, f"your reward model can't be used: {error}")]
    game = PoolGame(
        log_q_XJ=pool.log_q_XJ,
        prompt_weights_X=pool.prompt_weights_X,
        coefficient=stated.body.regularizer.coefficient,
        regularizer=stated.body.regularizer.type,
        sizes_N=np.array([float(stated.body.size)]),
        rewards_NXJ=rewards_XJ[None],
    )
    model = value_models(game, [log_theta_XJ], log_base_XJ)
    return [*findings, *_compared(stated.body, game, model, tolerance)]


def _texts(base: BaseModel, pool: Pool) -> Finding:
    """Reward models read texts, the model reads tokens: both must be of the same responses."""
    prompts = [base.prompt_tokens(prompt) for prompt in pool.prompts] == pool.prompt_tokens
    pairs = zip(pool.tokens_XJT, pool.lengths_XJ, strict=True)
    responses = [response_texts(base, *pair) for pair in pairs] == pool.texts
    return compared("pool texts", prompts and responses, "they are what its tokens say")


def _weights(stated: Revaluation, pool: Pool, log_base_XJ: Floats, tolerance: float) -> Finding:
    """q: 1/J for drawn responses, the initial model's own probabilities where all are listed."""
    check = "pool weights"
    if stated.announcement.pool.method == "sample":
        even = np.full(pool.log_q_XJ.shape, -np.log(pool.log_q_XJ.shape[1]))
        same = bool(np.allclose(pool.log_q_XJ, even, rtol=0, atol=1e-9))
        return compared(check, same, "every response weighs the same")
    apart = float(np.abs(np.exp(pool.log_q_XJ) - np.exp(log_base_XJ)).max())
    return compared(
        check, apart <= tolerance, f"they are the initial model's probabilities within {apart:.2g}"
    )


def _compared(
    body: ReceiptBody, game: PoolGame, model: ProjectedModels, tolerance: float
) -> list[Finding]:
    valuation = float(model.valuations_KN[0, 0])
    divergence = float(model.divergence_K[0])
    delivered = f"the delivered model's are {valuation:.6g} and {divergence:.6g}"
    if not COUNTERFACTUALS[body.counterfactuals].prices_delivered:
        return [
            not_checked(
                _VALUATION,
                f"{body.counterfactuals!r} prices the pool's best policy, which takes all groups' "
                f"reports to find; {delivered}",
            ),
            _within_bounds(body, game, tolerance),
        ]
    if body.value_on == "mixture":
        why = f"it rests on samples of all candidates too; on the pool alone {delivered}"
        return [not_checked(_VALUATION, why)]
    return [
        _near(_VALUATION, body.valuation, valuation, tolerance),
        _near(
            _DIVERGENCE,
            body.divergence,
            divergence,
            _DIVERGENCE_TOLERANCES * tolerance * max(1.0, divergence),
        ),
    ]


def _near(check: str, stated: float, found: float, tolerance: float) -> Finding:
    apart = abs(stated - found)
    return compared(
        check,
        apart <= tolerance,
        f"computed again it is {found:.9g}, stated was {stated:.9g}: {apart:.2g} apart, of "
        f"{tolerance:.2g} allowed",
    )


def _within_bounds(body: ReceiptBody, game: PoolGame, tolerance: float) -> Finding:
    """No policy is worth more to the group than its best within the stated divergence."""
    low, high = _reachable(game, body.divergence)
    return compared(
        "valuation bounds",
        low - tolerance <= body.valuation <= high + tolerance,
        f"a policy of the stated divergence is worth {low:.6g} to {high:.6g} to you; stated was "
        f"{body.valuation:.6g}",
    )


def _reachable(game: PoolGame, divergence: float) -> tuple[float, float]:
    """The least and the most that E_π r can be over policies on the pool.

    Under KL, with E_x KL(π ‖ q) = D, the Gibbs variational principle gives for every s > 0
        E_π r ≤ E_x s·log Σ_j q exp(r/s) + s·D,
    and the same of −r; the smallest over a grid of s is a bound as each of them is.
    """
    rewards_XJ, weights_X = game.rewards_NXJ[0], game.prompt_weights_X
    low, high = float(weights_X @ rewards_XJ.min(1)), float(weights_X @ rewards_XJ.max(1))
    if game.regularizer != "kl":
        return low, high
    for s in _SCALES:
        most, least = (
            float(weights_X @ tilt(game.log_q_XJ, sign * rewards_XJ, s).soft_maximum_X)
            + s * divergence
            for sign in (1.0, -1.0)
        )
        low, high = max(low, -least), min(high, most)
    return low, high
