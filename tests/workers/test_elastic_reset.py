"""Elastic Reset, step by step on numbers, and within a training."""

from typing import Any

import pytest
import torch
from training_support import policy_gradient, tiny_task, training

from api_schemas.training import ElasticReset
from workers.training.elastic_reset import ElasticResets
from workers.training.policy_gradient import PolicyGradientTrainer

INITIAL = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)


def after_steps(mode: Any, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(policy, average) after steps that add 1 each, with k = 2 and decay 3/4."""
    policy = INITIAL.clone()
    resets = ElasticResets([policy], ElasticReset(every=2, decay=0.75, mode=mode))
    for step in range(1, steps + 1):
        policy += 1
        resets.after_step(step)
    return policy, resets.average[0]


def test_the_average_moves_towards_the_policy_and_the_policy_is_left_alone() -> None:
    policy, average = after_steps("elastic", 1)
    torch.testing.assert_close(policy, INITIAL + 1)
    torch.testing.assert_close(average, INITIAL + 0.25)  # 3/4 · 0 + 1/4 · 1


def test_every_k_steps_the_policy_becomes_the_average_and_the_average_the_initial_adapter() -> None:
    policy, average = after_steps("elastic", 2)
    torch.testing.assert_close(policy, INITIAL + 0.6875)  # 3/4 · 1/4 + 1/4 · 2
    assert torch.equal(average, INITIAL)
    policy, average = after_steps("elastic", 3)
    torch.testing.assert_close(policy, INITIAL + 1.6875)
    torch.testing.assert_close(average, INITIAL + 1.6875 / 4)


def test_reset_to_ema_leaves_the_average_as_it_is() -> None:
    policy, average = after_steps("reset_to_ema", 2)
    torch.testing.assert_close(policy, INITIAL + 0.6875)
    assert torch.equal(average, policy)
    _, average = after_steps("reset_to_ema", 3)
    torch.testing.assert_close(average, INITIAL + 0.75 * 0.6875 + 0.25 * 1.6875)


def test_reset_to_init_gives_the_policy_the_initial_adapter() -> None:
    policy, average = after_steps("reset_to_init", 2)
    assert torch.equal(policy, INITIAL)
    torch.testing.assert_close(average, INITIAL + 0.6875)


def test_a_training_resets_all_worlds_after_the_evaluation_and_keeps_the_optimiser() -> None:
    """Evaluated first: the reset policy is not what training has reached."""
    resets = {"every": 4, "mode": "reset_to_init"}
    settings = policy_gradient(elastic_reset=resets, evaluate_every=4)
    with training(tiny_task(settings)) as made:
        initial = [parameter.detach().clone() for parameter in made.parameters]
        saved: list[int] = []
        reports = made.train(lambda: saved.append(made.step))
        evaluated = next(report for report in reports if report.kind == "holdout")
        assert min(evaluated.divergence) > 1e-3
        fifth = next(reports)
        assert saved == [4]
        assert fifth.divergence == pytest.approx([0] * 4, abs=1e-5)  # drawn after the reset
        assert float(made.optimizer.state[made.parameters[0]]["step"]) == 5
        list(reports)
        assert made.step == 8
        for before, parameter in zip(initial, made.parameters, strict=True):
            assert torch.equal(before, parameter)  # the last step reset it too


def test_a_training_without_resets_keeps_no_average() -> None:
    with training(tiny_task(policy_gradient())) as made:
        assert isinstance(made, PolicyGradientTrainer)
        assert made.resets is None
        assert made.kept_tensors() == {}


def test_before_the_first_reset_a_training_is_the_same_as_without() -> None:
    """The average only watches."""
    states = []
    for resets in (None, {"every": 7}):
        with training(tiny_task(policy_gradient(elastic_reset=resets))) as made:
            for report in made.train():
                if report.step == 6 and report.kind == "holdout":
                    break
            states.append(made.adapters.world_state(0))
    assert all(torch.equal(states[1][name], tensor) for name, tensor in states[0].items())
