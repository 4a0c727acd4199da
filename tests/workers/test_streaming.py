"""The pool game prompt by prompt: the same outcome as the closed form, however it is cut up."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.mechanism.closed_form import solve
from workers.mechanism.payments import affine_maximizer
from workers.mechanism.streaming import (
    PromptPool,
    StreamedGame,
    StreamedOutcome,
    add_prompts,
    solve_prompt,
)
from workers.mechanism.worlds import PoolGame
from workers.solving.run import in_order

THOROUGH = settings(max_examples=500, deadline=None)


def random_game(seed: int, groups: int, coefficient: float, regularizer: str) -> PoolGame:
    rng = np.random.default_rng(seed)
    prompts, responses = int(rng.integers(1, 4)), int(rng.integers(1, 12))
    return PoolGame(
        log_q_XJ=np.log(rng.dirichlet(np.full(responses, 2.0), prompts)),
        prompt_weights_X=rng.dirichlet(np.ones(prompts)),
        coefficient=coefficient,
        sizes_N=rng.integers(1, 20, groups).astype(float),
        rewards_NXJ=rng.random((groups, prompts, responses)),
        regularizer=regularizer,
    )


games = st.builds(
    random_game,
    seed=st.integers(0, 2**32 - 1),
    groups=st.integers(1, 5),
    coefficient=st.floats(-3, 5).map(lambda exponent: 10**exponent),
    regularizer=st.sampled_from(["kl", "l2"]),
)


def streamed(
    game: PoolGame, block: int = 1, threads: int = 0, with_surcharges: bool = True
) -> StreamedOutcome:
    shared = StreamedGame(game.sizes_N, game.coefficient, game.regularizer, with_surcharges)
    prompts = [
        PromptPool(float(weight), np.exp(log_q_J), game.rewards_NXJ[:, x])
        for x, (weight, log_q_J) in enumerate(
            zip(game.prompt_weights_X, game.log_q_XJ, strict=True)
        )
    ]
    if not threads:
        return add_prompts(shared, [solve_prompt(shared, prompt, block) for prompt in prompts])
    with ThreadPoolExecutor(threads) as pool:
        each = in_order(pool, threads)
        return add_prompts(shared, [solve_prompt(shared, each_, block, each) for each_ in prompts])


def figures(outcome: StreamedOutcome) -> np.ndarray:
    payments = outcome.payments
    assert outcome.surcharges_N is not None
    return np.concatenate(
        [
            [outcome.divergence, outcome.welfare],
            outcome.valuations_N,
            outcome.surcharges_N,
            payments.payments_N,
            payments.utilities_N,
            payments.others_welfare_without_N,
            payments.others_welfare_with_N,
        ]
    )


@THOROUGH
@given(games)
def test_prompt_by_prompt_gives_the_closed_form_of_every_world(game: PoolGame) -> None:
    outcome, solution = streamed(game), solve(game)
    expected = affine_maximizer(game.sizes_N, solution.values)
    total = game.sizes_N.sum()
    # The closed form subtracts welfares, and loses digits to λ·D where λ is large.
    rounding = 1e-13 * (total + game.coefficient)
    np.testing.assert_allclose(outcome.welfare, solution.welfare_W[0], atol=rounding)
    np.testing.assert_allclose(outcome.divergence, solution.divergence_W[0], atol=1e-13)
    np.testing.assert_allclose(
        outcome.valuations_N, solution.values.valuations_WN[0], rtol=0, atol=1e-12
    )
    for name in ("payments_N", "utilities_N", "others_welfare_without_N", "others_welfare_with_N"):
        np.testing.assert_allclose(
            getattr(outcome.payments, name), getattr(expected, name), rtol=0, atol=2 * rounding
        )


@THOROUGH
@given(games, st.integers(1, 60), st.integers(0, 2))
def test_the_outcome_depends_on_neither_blocks_nor_threads(
    game: PoolGame, block: int, threads: int
) -> None:
    expected = figures(streamed(game, block=10**6))
    found = figures(streamed(game, block=block, threads=threads))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@THOROUGH
@given(games)
def test_streamed_payments_and_utilities_are_never_negative(game: PoolGame) -> None:
    payments = streamed(game).payments
    rounding = 1e-12 * game.sizes_N.sum()
    assert (payments.payments_N >= -rounding).all()
    assert (payments.utilities_N >= -rounding).all()


@THOROUGH
@given(games)
def test_a_group_without_preferences_pays_exactly_nothing_streamed(game: PoolGame) -> None:
    silent = replace(
        game,
        sizes_N=np.append(game.sizes_N, 1),
        rewards_NXJ=np.concatenate([game.rewards_NXJ, np.zeros_like(game.rewards_NXJ[:1])]),
    )
    outcome, alone = streamed(silent), streamed(game)
    assert outcome.payments.payments_N[-1] == 0.0
    assert outcome.welfare == alone.welfare
    np.testing.assert_array_equal(outcome.payments.payments_N[:-1], alone.payments.payments_N)


@pytest.mark.parametrize("coefficient", [1e3, 1e6, 1e12, 1e30])
def test_l2_payments_keep_their_digits_however_large_the_coefficient(coefficient: float) -> None:
    # Every response keeps weight, so leaving i out shifts π by w(r − mean r)/(2λ), and
    # p = λ‖shift‖² = w²·Σ(r − mean r)²/(4λ); on (0, ½, 1) the sum of squares is ½.
    base, rewards = np.array([0.2, 0.3, 0.5]), np.array([[0.0, 0.5, 1.0], [1.0, 0.2, 0.4]])
    game = StreamedGame(np.array([6.0, 2.0]), coefficient, "l2")
    payments_N = solve_prompt(game, PromptPool(1.0, base, rewards)).groups.payments_N
    assert payments_N[0] == pytest.approx(36 * 0.5 / (4 * coefficient), rel=1e-12, abs=0)


def test_kl_payments_keep_their_digits_when_the_coefficient_is_large() -> None:
    # p = λ log E exp(−(w/λ)(r − E r)) = w²·Var r/(2λ) + O(λ⁻²); on a fair coin the variance is ¼.
    game = StreamedGame(np.array([6.0]), 1e6)
    prompt = PromptPool(1.0, np.array([0.5, 0.5]), np.array([[0.0, 1.0]]))
    payment = solve_prompt(game, prompt).groups.payments_N[0]
    assert payment == pytest.approx(36 / 4 / 2e6, rel=1e-9, abs=0)


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
@pytest.mark.parametrize("coefficient", [1e-7, 1e-300])
def test_a_vanishing_coefficient_gives_the_argmax_and_its_externality_streamed(
    regularizer: str, coefficient: float
) -> None:
    # S = 3·(1, 0, .5) + 2·(0, .9, .8) = (3, 1.8, 3.1): response 2 wins. Without group 0 response 1
    # would, worth 1.8 to group 1 instead of 1.6; without group 1 response 0, 3 instead of 1.5.
    game = StreamedGame(np.array([3.0, 2.0]), coefficient, regularizer, with_surcharges=True)
    rewards = np.array([[1.0, 0.0, 0.5], [0.0, 0.9, 0.8]])
    terms = solve_prompt(game, PromptPool(1.0, np.array([0.5, 0.3, 0.2]), rewards))
    np.testing.assert_array_equal(terms.policy_J, [0.0, 0.0, 1.0])
    np.testing.assert_allclose(terms.groups.payments_N, [1.8 - 1.6, 3.0 - 1.5], atol=1e-5)
    # Without group 0, S = 2·(0, .9, .8): response 0 made worth 1 stays below 1.8. Without group 1,
    # response 1 made worth 1 stays below 3.
    np.testing.assert_allclose(terms.groups.surcharges_N, 0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes_N": [1, 2.5]}, r"sizes_N\[1\] = 2.5"),
        ({"coefficient": 0.0}, "coefficient = 0.0"),
        ({"regularizer": "l3"}, "regularizer = 'l3', expected one of"),
    ],
)
def test_a_streamed_game_that_makes_no_sense_is_refused(
    change: dict[str, object], message: str
) -> None:
    fields: dict[str, object] = {"sizes_N": [1, 2], "coefficient": 1.0}
    with pytest.raises(ValueError, match=message):
        StreamedGame(**{**fields, **change})  # type: ignore[arg-type]


def test_rewards_of_another_shape_are_refused() -> None:
    game = StreamedGame(np.array([1.0, 2.0]), 1.0)
    with pytest.raises(ValueError, match=r"rewards has shape \(2, 2\), expected \(2, 3\)"):
        solve_prompt(game, PromptPool(1.0, np.full(3, 1 / 3), np.zeros((2, 2))))
