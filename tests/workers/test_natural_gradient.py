"""The natural gradient: its formula on numbers, and training on the enumerable model."""

from typing import Any

import numpy as np
import pytest
import torch
from crews import train_in_threads
from pydantic import ValidationError
from training_support import (
    PROMPTS,
    SIZES,
    Tastes,
    shares_of_the_possible_gain,
    tiny_base,
    tiny_task,
    training,
)

from api_schemas.datasets import PromptLine
from api_schemas.errors import RoundFailed
from api_schemas.rounds import RoundCreate
from api_schemas.training import NaturalGradient
from workers.mechanism.worlds import membership
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.pool import sample_pool
from workers.tensors import pack, unpack
from workers.training import checkpoints, response_gradients
from workers.training.natural_gradient import (
    DampedCurvature,
    NaturalGradientTrainer,
    curvature,
    slope,
)
from workers.training.task import TrainingTask
from workers.training.worth import worth_on_pool


def natural_gradient(**changes: Any) -> NaturalGradient:
    return NaturalGradient.model_validate({"top_layers": None, "patience": 100, **changes})


def drawn_task(samples: int = 7, **changes: Any) -> TrainingTask:
    """On a small pool of drawn responses, which end early and don't fill their rows."""
    lines = [PromptLine(prompt=prompt) for prompt in PROMPTS]
    base, score = tiny_base(), Tastes()
    pool = sample_pool(base, lines, samples=samples, max_new_tokens=3, labels=("test",))
    rewards_NXJ = score(*pool.flat_texts(), range(3)).reshape(3, len(PROMPTS), -1)
    return tiny_task(
        natural_gradient(**changes), pool=pool, pool_rewards_NXJ=rewards_NXJ, score=score
    )


def trained(task: TrainingTask, **options: Any) -> NaturalGradientTrainer:
    with training(task, **options) as trainer:
        list(trainer.train())
    assert isinstance(trainer, NaturalGradientTrainer)
    return trainer


def test_slope_and_curvature_are_those_of_welfare_by_finite_differences() -> None:
    random = np.random.default_rng(3)
    q_XJ = random.dirichlet(np.ones(5), size=2)
    log_q_XJ, weights_X, welfare_XJ = np.log(q_XJ), np.array([0.3, 0.7]), random.random((2, 5))
    ratio_XJ = random.normal(size=(2, 5))
    ratio_XJ -= (q_XJ * ratio_XJ).sum(1, keepdims=True)

    def welfare(step: float) -> float:
        return worth_on_pool(step * ratio_XJ, log_q_XJ, weights_X, welfare_XJ, 2.0, "kl").welfare

    h = 1e-4
    first = (welfare(h) - welfare(-h)) / (2 * h)
    assert first == pytest.approx(np.sum(slope(log_q_XJ, weights_X, welfare_XJ) * ratio_XJ), 1e-6)
    zeros_XJ = np.zeros_like(welfare_XJ)

    def price(step: float) -> float:
        return -worth_on_pool(step * ratio_XJ, log_q_XJ, weights_X, zeros_XJ, 2.0, "kl").welfare

    second = (price(h) + price(-h)) / h**2
    assert second == pytest.approx(
        curvature(log_q_XJ, weights_X, 2.0) @ ratio_XJ.ravel() ** 2, 1e-4
    )


def test_the_damped_solution_is_the_maximum_of_the_quadratic() -> None:
    """By a solve in the parameters, where Fisher's information is a matrix of its own."""
    random = np.random.default_rng(4)
    phi_ND, curvature_N = random.normal(size=(6, 9)), np.array([0.3, 0.2, 0.1, 0.2, 0.2, 0.0])
    slope_N = random.normal(size=6) * (curvature_N > 0)
    kernel_NN = phi_ND @ phi_ND.T
    ridge = 0.2
    rho = ridge * (curvature_N * np.diag(kernel_NN)).mean()
    fisher_DD = phi_ND.T @ (curvature_N[:, None] * phi_ND)
    expected_D = np.linalg.solve(fisher_DD + rho * np.eye(9), phi_ND.T @ slope_N)
    alpha_N = DampedCurvature(kernel_NN, curvature_N, ridge)(slope_N)
    np.testing.assert_allclose(phi_ND.T @ alpha_N, expected_D, rtol=1e-10)


def test_gradients_of_responses_are_the_model_s_own_by_small_steps() -> None:
    """The log-ratio that a small θ makes on the pool is φ·θ, with the pool's own log-probabilities
    as the judge."""
    task = drawn_task()
    with training(task) as trainer:
        assert isinstance(trainer, NaturalGradientTrainer)
        phi = trainer._gradients()
        generator = torch.Generator().manual_seed(0)
        steps = {
            name: torch.randn(b[0].shape, generator=generator)
            for name, b in trainer.adapters.b.items()
        }
        found_XJ = (_log_ratio(trainer, steps, 1e-3) - _log_ratio(trainer, steps, -1e-3)) / 2e-3
        q_XJ = torch.from_numpy(np.exp(task.pool.log_q_XJ))
        found_XJ = found_XJ - (q_XJ * found_XJ).sum(1, keepdim=True)
        for x in range(len(PROMPTS)):
            expected_J = sum(phi[x][name] @ steps[name].flatten() for name in steps)
            torch.testing.assert_close(found_XJ[x], expected_J.double(), rtol=1e-2, atol=1e-2)


def _log_ratio(
    trainer: NaturalGradientTrainer, steps: dict[str, torch.Tensor], size: float
) -> torch.Tensor:
    with torch.no_grad():
        for name, parameter in trainer.adapters.b.items():
            parameter[0] = size * steps[name]
    pool = trainer.task.pool
    log_probs = ResponseLogProbs(
        trainer.decoder, trainer.adapters, pool.prompt_tokens, pool.tokens_XJT, pool.lengths_XJ
    )
    found_KXJ = log_probs([0, None])
    return found_KXJ[0] - found_KXJ[1]


@pytest.mark.parametrize(("coefficient", "least"), [(2.0, 0.8), (0.5, 0.6)])
def test_every_world_reaches_most_of_the_possible_gain(coefficient: float, least: float) -> None:
    settings = natural_gradient(steps=8, longest_step=2)
    trainer = trained(tiny_task(settings, coefficient=coefficient))
    shares = shares_of_the_possible_gain(trainer)
    print(f"\nshares of the possible gain: {shares}")
    assert min(shares) >= least
    assert max(shares) <= 1.0


def test_worlds_together_are_the_worlds_one_by_one() -> None:
    together = trained(drawn_task())
    for world in range(4):
        task = drawn_task()
        alone = trained(
            tiny_task(
                task.settings,
                pool=task.pool,
                pool_rewards_NXJ=task.pool_rewards_NXJ,
                weights_WN=(membership(3) * SIZES)[[world]],
            )
        )
        for name, direction_Wor in together.directions.items():
            torch.testing.assert_close(
                direction_Wor[world], alone.directions[name][0], rtol=0, atol=1e-8
            )
        welfare = [each.welfare for each in together.records[world].history]
        assert welfare == pytest.approx(
            [each.welfare for each in alone.records[0].history], abs=1e-8
        )


def test_nothing_of_a_group_is_in_the_direction_without_it() -> None:
    honest = drawn_task()
    rewards_NXJ = honest.pool_rewards_NXJ.copy()
    rewards_NXJ[1] = np.random.default_rng(1).random(rewards_NXJ[1].shape)
    other = tiny_task(honest.settings, pool=honest.pool, pool_rewards_NXJ=rewards_NXJ)
    truth, lie = trained(honest), trained(other)
    for name, direction_Wor in truth.directions.items():
        assert torch.equal(direction_Wor[2], lie.directions[name][2])  # the world without group 1
        assert not torch.equal(direction_Wor[0], lie.directions[name][0])


def test_directions_are_linear_in_welfare() -> None:
    trainer = trained(drawn_task())
    for direction_Wor in trainer.directions.values():
        grand_or, without = direction_Wor[0], direction_Wor[1:].sum(0)
        torch.testing.assert_close(without, 2 * grand_or, rtol=1e-4, atol=1e-6)


def test_the_walk_stops_where_held_out_welfare_falls_and_keeps_the_best() -> None:
    trainer = trained(drawn_task(steps=40, longest_step=40, patience=1))
    for record in trainer.records:
        welfare = [each.welfare for each in record.history]
        assert record.best_welfare == max(welfare)
        assert len(welfare) < 41
        assert welfare[-1] < record.best_welfare


def test_a_training_that_goes_on_elsewhere_asks_for_no_gradient_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with training(drawn_task()) as through:
        whole = list(through.train())
    saved: list[bytes] = []
    with training(drawn_task()) as first:
        reports = first.train(lambda: saved.append(pack(*checkpoints.state(first))))
        next(report for report in reports if len(saved) == 2)
    monkeypatch.setattr(NaturalGradientTrainer, "_find_directions", _must_not_be_called)
    with training(drawn_task()) as second:
        checkpoints.restore(second, *unpack(saved[-1]))
        rest = list(second.train())
        assert [each.welfare for each in rest] == [each.welfare for each in whole[-len(rest) :]]
        for record, expected in zip(second.records, through.records, strict=True):
            assert record.best_step == expected.best_step
            assert record.best_welfare == expected.best_welfare


def _must_not_be_called(_trainer: NaturalGradientTrainer) -> None:
    raise AssertionError("the directions were kept")


def test_workers_that_share_the_prompts_find_what_one_finds() -> None:
    task = drawn_task(steps=3)
    (alone,), three = (train_in_threads(task, workers, torch.float64) for workers in (1, 3))
    for tensors, _ in three:
        assert tensors.keys() == alone[0].keys()
        for name, tensor in tensors.items():
            torch.testing.assert_close(tensor, alone[0][name], rtol=0, atol=1e-8)


def test_gradients_beyond_the_memory_are_refused_with_what_to_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(response_gradients, "KEPT_BYTES", 1000)
    with pytest.raises(RoundFailed, match=r"28 responses.*pool\.samples_per_prompt") as caught:
        NaturalGradientTrainer(tiny_base(), drawn_task())
    assert caught.value.code == "gradients_over_budget"
    layer = tiny_base().model.model.layers[0].mlp.up_proj
    assert isinstance(layer, torch.nn.Linear)  # the base model has its own layers back


def test_l2_is_refused_where_it_is_announced() -> None:
    announced = {
        "name": "far",
        "base_model": "tiny-enumerable",
        "prompts_file_id": "file_01jd2m8x3k5v7w9y0a1b2c3d4e",
        "max_group_size": 3,
        "price_per_unit_micro_units": 1,
        "training": {"method": "natural_gradient"},
    }
    RoundCreate.model_validate(announced | {"regularizer": {"coefficient": 1.0}})
    with pytest.raises(ValidationError, match="'natural_gradient' can't be had with regularizer"):
        RoundCreate.model_validate(announced | {"regularizer": {"type": "l2", "coefficient": 1.0}})
