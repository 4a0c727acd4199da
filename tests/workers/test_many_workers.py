"""Training workers share the work of a step, and what they compute together is what one would."""

from pathlib import Path

import pytest
import torch
from crews import Trained, own_base, train, train_in_threads, train_sharded
from training_support import (
    PROMPTS,
    SIZES,
    Tastes,
    policy_gradient,
    pool_gradient,
    tiny_base,
    tiny_task,
)

from api_schemas.datasets import PromptLine
from api_schemas.training import AdapterTraining, NaturalGradient
from workers.mechanism.worlds import membership
from workers.pool.pool import enumerate_pool
from workers.training.task import TrainingTask

# Three prompts a step: two workers have unequal shares, and three one each.
STEPS = {"steps": 3, "prompts_per_step": 3, "evaluate_every": 2}
METHODS: dict[str, AdapterTraining] = {
    "policy_gradient": policy_gradient(**STEPS, samples_per_prompt=4),
    "pool_gradient": pool_gradient(**STEPS),
    "natural_gradient": NaturalGradient(steps=3, top_layers=None),
}
SMALL = {
    "workers.training.pool_rows.ROW_TOKENS": 16,
    "workers.training.pool_gradient._GRAPH_SLOTS": 40,
}
"""So that several rows hold a prompt's responses, and activations are computed twice."""


def small_task(settings: AdapterTraining, steps_W: list[int]) -> TrainingTask:
    """Three worlds on 3 prompts with the 31 responses of two words at most."""
    pool = enumerate_pool(tiny_base(), [PromptLine(prompt=prompt) for prompt in PROMPTS[:3]], 2)
    rewards_NXJ = Tastes()(*pool.flat_texts(), range(3)).reshape(3, 3, -1)
    return tiny_task(
        settings,
        steps_W=steps_W,
        weights_WN=membership(3)[:3] * SIZES,
        max_new_tokens=2,
        prompts=pool.prompts,
        prompt_tokens=pool.prompt_tokens,
        prompt_weights_X=pool.prompt_weights_X,
        pool=pool,
        pool_rewards_NXJ=rewards_NXJ,
        holdout=pool,
        holdout_rewards_NXJ=rewards_NXJ,
    )


def parameters(trained: Trained) -> dict[str, torch.Tensor]:
    tensors, _ = trained
    return {name: tensor for name, tensor in tensors.items() if name.startswith("parameter.")}


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS.keys())
def test_one_two_and_three_workers_train_the_same_worlds(
    settings: AdapterTraining,
) -> None:
    """To 1e-8 in float64: their sums have another order, and Adam divides by small numbers."""
    task = small_task(settings, [3, 3, 3])
    alone = train(task, own_base(torch.float64))
    for workers in (2, 3):
        for trained in train_in_threads(task, workers, torch.float64):
            for name, tensor in parameters(alone).items():
                assert float((parameters(trained)[name] - tensor).abs().max()) <= 1e-8, name
            for one, other in zip(alone[1]["records"], trained[1]["records"], strict=True):
                assert other["best_step"] == one["best_step"]
                assert other["best_welfare"] == pytest.approx(one["best_welfare"], abs=1e-8)
    assert any(tensor.abs().max() > 1e-3 for tensor in parameters(alone).values())


@pytest.mark.slow  # a program of its own that loads torch, and six processes
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_a_base_model_spread_over_two_workers_trains_the_same_bits(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With unequal shares, responses of any length, and passes that are computed twice: workers
    need other layers at other times, and would wait for each other for ever."""
    for target, value in SMALL.items():
        monkeypatch.setattr(target, value)
    tasks = [small_task(settings, [3, 2, 3]) for settings in METHODS.values()]
    layers = own_base(dtype).model.model.layers
    all_numbers = sum(parameter.numel() for parameter in layers.parameters())
    for task, sharded in zip(tasks, train_sharded(tasks, 2, dtype, tmp_path, SMALL), strict=True):
        apart = train_in_threads(task, 2, dtype)
        for (tensors, meta), (expected, expected_meta) in zip(sharded, apart, strict=True):
            assert tensors.keys() == expected.keys()
            assert all(torch.equal(tensors[name], expected[name]) for name in expected)
            assert meta["records"] == expected_meta["records"]
            assert meta["whole_layers"] == 0
        assert sum(meta["held"] for _, meta in sharded) == all_numbers
