"""Adapters of different ranks in one stack, and the files PEFT can load."""

import copy
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from api_schemas.training import PolicyGradient
from workers import base_models, tiny_model
from workers.training.stacked_lora import StackedAdapters, alpha_at_rank, rank_of, save_peft

SMALL = PolicyGradient(lora_rank=2, lora_alpha=3, top_layers=None)
TOKENS = torch.tensor([[1, 4, 5, 2, 3]])


@pytest.fixture
def model() -> Any:
    """A copy in float64, in which rounding can't be taken for a difference."""
    base = base_models.load(tiny_model.NAME, base_models.resolve(tiny_model.NAME).revision)
    return copy.deepcopy(base.model).double()


def random_state(like: StackedAdapters, seed: int, rank: int = 2) -> dict[str, Tensor]:
    """An adapter for the same layers, whose B isn't zero."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, tensor in like.world_state(0).items():
        shape = list(tensor.shape)
        shape[1 if ".lora_B." in key else 0] = rank
        state[key] = 0.3 * torch.randn(shape, generator=generator)
    return state


@torch.no_grad()
def logits(model: Any, adapters: StackedAdapters, world: int | None) -> Tensor:
    with adapters.select(None if world is None else [world]):
        found: Tensor = model(input_ids=TOKENS).logits
    return found


@pytest.fixture
def room_for_7(model: Any) -> Iterator[StackedAdapters]:
    with closing(StackedAdapters.announced(model, SMALL, worlds=3, rank=7)) as adapters:
        yield adapters


def test_padding_a_small_adapter_to_a_larger_rank_changes_no_output(
    model: Any, room_for_7: StackedAdapters
) -> None:
    small, large = random_state(room_for_7, seed=1), random_state(room_for_7, seed=2, rank=7)
    room_for_7.load_world_state(0, large)
    room_for_7.load_world_state(1, small)
    room_for_7.load_world_state(2, large)
    padded, plain = logits(model, room_for_7, 1), logits(model, room_for_7, None)
    room_for_7.close()
    with closing(StackedAdapters.announced(model, SMALL, worlds=1)) as tight:
        tight.load_world_state(0, small)
        expected = logits(model, tight, 0)
    assert (expected - plain).abs().max() > 0.1  # the adapter does something at all
    torch.testing.assert_close(padded, expected, rtol=0, atol=1e-12)


def test_a_smaller_adapter_leaves_nothing_of_the_one_before_it(
    model: Any, room_for_7: StackedAdapters
) -> None:
    room_for_7.load_world_state(0, random_state(room_for_7, seed=2, rank=7))
    room_for_7.load_world_state(0, random_state(room_for_7, seed=1))
    room_for_7.load_world_state(1, random_state(room_for_7, seed=1))
    torch.testing.assert_close(
        logits(model, room_for_7, 0), logits(model, room_for_7, 1), rtol=0, atol=0
    )
    held = room_for_7.world_state(0)
    assert rank_of(held) == 7
    for key, tensor in random_state(room_for_7, seed=1).items():
        axis = 1 if ".lora_B." in key else 0
        assert torch.equal(held[key].narrow(axis, 0, 2), tensor.double())
        assert not held[key].narrow(axis, 2, 5).any()


def test_the_scaling_is_the_announced_one_at_every_rank(room_for_7: StackedAdapters) -> None:
    assert room_for_7.scaling == 3 / 2
    assert alpha_at_rank(SMALL, 7) / 7 == 3 / 2
    assert alpha_at_rank(SMALL, 2) == 3


def _without(state: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {k: t for k, t in state.items() if k != key}


def test_adapters_that_do_not_fit_are_refused_with_what_differs(
    room_for_7: StackedAdapters,
) -> None:
    state = random_state(room_for_7, seed=1)
    key = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"
    too_large = random_state(room_for_7, seed=1, rank=8)
    with pytest.raises(ValueError, match="rank 8 has no room in a stack of 7"):
        room_for_7.load_world_state(0, too_large)
    with pytest.raises(ValueError, match=r"differ in \['base_model.*1.mlp.down_proj.lora_A"):
        room_for_7.load_world_state(0, _without(state, key))
    with pytest.raises(ValueError, match=r"differ in \['another'\]"):
        room_for_7.load_world_state(0, {**state, "another": torch.zeros(2, 4)})
    with pytest.raises(ValueError, match=r"one rank, its matrices have .*down_proj.*: 1"):
        room_for_7.load_world_state(0, {**state, key: state[key][:1]})
    # A single input would be spread over all 96 without a check.
    with pytest.raises(ValueError, match=r"of \(2, 1\), expected \(2, 96\)"):
        room_for_7.load_world_state(0, {**state, key: state[key][:, :1]})
    with pytest.raises(ValueError, match="one rank"):
        rank_of({})


def test_files_whose_rank_is_not_the_adapters_are_never_written(
    room_for_7: StackedAdapters, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="rank 16 announced for an adapter of rank 2"):
        save_peft(
            tmp_path / "adapter",
            random_state(room_for_7, seed=1),
            base_model=tiny_model.NAME,
            rank=16,
            alpha=32,
            layers=[0, 1],
        )
    assert not (tmp_path / "adapter").exists()
