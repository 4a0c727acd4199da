"""Stage 4: the exact optimum of every world on the pool: it prices worlds and judges training."""

from dataclasses import asdict, dataclass

import numpy as np

from workers.artifacts import ArtifactStore
from workers.mechanism import closed_form
from workers.mechanism.arrays import Floats
from workers.mechanism.tilting import expectation
from workers.mechanism.worlds import PoolGame, WorldValues
from workers.pool.pool import Pool
from workers.pool.projection import support
from workers.stages.context import StageContext
from workers.stages.sample_pool import load_pools
from workers.stages.score import Scores


@dataclass(frozen=True)
class SolvedWorld:
    """The optimum of one world; fields as in `api_schemas.outcomes.WorldOutcome`.

    `kl`: of the optimum from the initial model, nats, whatever the announced regulariser.
    """

    valuations_N: list[float]
    divergence: float
    kl: float
    welfare: float
    effective_samples_mean: float
    effective_samples_minimum: float
    low_support_prompts: int


def run(context: StageContext) -> str:
    """Leaves a list of `SolvedWorld`, the grand world first."""
    game, _ = load_game(context)
    worlds = []
    for world in range(game.worlds):
        worlds.append(_solve(game, world))
        context.progress("solve", world + 1, game.worlds, "worlds")
    return context.artifacts.put_json([asdict(world) for world in worlds])


def load_game(context: StageContext) -> tuple[PoolGame, Scores]:
    """The game on the training pool, and the scores it was made of."""
    pool, _ = load_pools(context.artifacts, context.inputs["sample_pool"])
    scores = Scores.load(context.artifacts, context.inputs["score"])
    return _game(context, pool, scores, scores.rewards_NXJ), scores


def load_holdout_game(context: StageContext) -> PoolGame:
    """The same game on the held-out pool, which no payment depends on."""
    _, holdout = load_pools(context.artifacts, context.inputs["sample_pool"])
    scores = Scores.load(context.artifacts, context.inputs["score"])
    return _game(context, holdout, scores, scores.holdout_rewards_NXJ)


def _game(context: StageContext, pool: Pool, scores: Scores, rewards_NXJ: Floats) -> PoolGame:
    regularizer = context.job.announcement.regularizer
    return PoolGame(
        log_q_XJ=pool.log_q_XJ,
        prompt_weights_X=pool.prompt_weights_X,
        coefficient=regularizer.coefficient,
        regularizer=regularizer.type,
        sizes_N=scores.sizes_N,
        rewards_NXJ=rewards_NXJ,
    )


def load_solution(artifacts: ArtifactStore, digest: str) -> list[SolvedWorld]:
    return [SolvedWorld(**world) for world in artifacts.get_json(digest)]


def optimum_values(solution: list[SolvedWorld], coefficient: float) -> WorldValues:
    """What payments need of the optima of all worlds."""
    return WorldValues(
        valuations_WN=np.array([world.valuations_N for world in solution]),
        penalties_W=coefficient * np.array([world.divergence for world in solution]),
    )


def _solve(game: PoolGame, world: int) -> SolvedWorld:
    best = closed_form.optimum(game, world)
    found = support(best.log_policy_XJ, game.log_q_XJ)
    return SolvedWorld(
        valuations_N=best.valuations_N.tolist(),
        divergence=best.divergence,
        kl=_kl(game, best.log_policy_XJ),
        welfare=best.welfare,
        effective_samples_mean=found.mean,
        effective_samples_minimum=found.minimum,
        low_support_prompts=found.low_prompts,
    )


def _kl(game: PoolGame, log_policy_XJ: Floats) -> float:
    with np.errstate(invalid="ignore"):
        log_ratio_XJ = log_policy_XJ - game.log_q_XJ
    return float(game.prompt_weights_X @ expectation(np.exp(log_policy_XJ), log_ratio_XJ))
