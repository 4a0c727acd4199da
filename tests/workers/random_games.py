"""Games on the pool for property tests, small enough that 500 of them take a second."""

from dataclasses import replace

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from workers.mechanism.arrays import Floats
from workers.mechanism.closed_form import PoolSolution, solve
from workers.mechanism.payments import Payments, affine_maximizer
from workers.mechanism.worlds import PoolGame

THOROUGH = settings(max_examples=500, deadline=None)


def random_game(
    seed: int, groups: int, coefficient: float, regularizer: str = "kl", prompts: int | None = None
) -> PoolGame:
    """Any of: prompts of weight 0, duplicate responses, rewards that nearly tie, a silent group."""
    rng = np.random.default_rng(seed)
    prompts, responses = prompts or int(rng.integers(1, 5)), int(rng.integers(2, 9))
    q_XJ = rng.dirichlet(np.full(responses, rng.choice([0.3, 1.0, 10.0])), prompts)
    rewards_NXJ = random_rewards(rng, (groups, prompts, responses))
    if rng.random() < 0.3:
        q_XJ[:, 1] = q_XJ[:, 0]
        rewards_NXJ[:, :, 1] = rewards_NXJ[:, :, 0]
    q_XJ = np.maximum(q_XJ, 1e-9)
    weights_X = rng.dirichlet(np.ones(prompts))
    if prompts > 1 and rng.random() < 0.3:
        weights_X[0] = 0.0
    return PoolGame(
        log_q_XJ=np.log(q_XJ / q_XJ.sum(axis=1, keepdims=True)),
        prompt_weights_X=weights_X / weights_X.sum(),
        coefficient=coefficient,
        sizes_N=rng.integers(1, 20, groups).astype(float),
        rewards_NXJ=rewards_NXJ,
        regularizer=regularizer,
    )


def random_rewards(rng: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    rewards_NXJ = rng.random(shape)
    kind = rng.random()
    if kind < 0.3:  # many responses tie, up to 1e-12
        ties_NXJ = rng.integers(0, 3, shape) / 2
        rewards_NXJ = np.clip(ties_NXJ + 1e-12 * rng.integers(-1, 2, shape), 0.0, 1.0)
    elif kind < 0.6:  # as normalised reports are: from 0 to 1
        low_N11 = rewards_NXJ.min(axis=(1, 2), keepdims=True)
        high_N11 = rewards_NXJ.max(axis=(1, 2), keepdims=True)
        rewards_NXJ = (rewards_NXJ - low_N11) / (high_N11 - low_N11)
    if rng.random() < 0.2:
        rewards_NXJ[0] = 0.0
    return rewards_NXJ


seeds = st.integers(0, 2**32 - 1)
coefficients = st.floats(-2.0, 3.0).map(lambda exponent: 10.0**exponent)
regularizers = st.sampled_from(["kl", "l2"])


def games_of(
    regularizer: st.SearchStrategy[str] = regularizers, least_groups: int = 1
) -> st.SearchStrategy[PoolGame]:
    return st.builds(
        random_game,
        seed=seeds,
        groups=st.integers(least_groups, 5),
        coefficient=coefficients,
        regularizer=regularizer,
    )


games = games_of()
kl_games, l2_games = games_of(st.just("kl")), games_of(st.just("l2"))


def settle(game: PoolGame) -> tuple[PoolSolution, Payments]:
    solution = solve(game)
    return solution, affine_maximizer(game.sizes_N, solution.values)


def with_report(game: PoolGame, group: int, size: int, rewards_XJ: Floats) -> PoolGame:
    """The game in which one group reports something else."""
    sizes_N, rewards_NXJ = game.sizes_N.copy(), game.rewards_NXJ.copy()
    sizes_N[group], rewards_NXJ[group] = size, rewards_XJ
    return replace(game, sizes_N=sizes_N, rewards_NXJ=rewards_NXJ)
