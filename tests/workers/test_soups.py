"""Interpolated adapters: the paper's average, the exact delta, and what PEFT makes of them."""

from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from api_schemas.training import PolicyGradient
from workers import base_models, tiny_model
from workers.base_models import BaseModel
from workers.training.soups import (
    INTERPOLATIONS,
    average,
    delta,
    grid_size,
    simplex_grid,
    touched_groups,
)
from workers.training.stacked_lora import StackedAdapters, alpha_at_rank, rank_of, save_peft

SETTINGS = PolicyGradient(lora_rank=2, lora_alpha=3, top_layers=1)  # s = 1.5, on layer 1 alone
COEFFICIENTS = (Fraction(1, 5), Fraction(0), Fraction(3, 5), Fraction(1, 5))
TOKENS = torch.tensor([[1, 4, 5, 2, 3]])


@pytest.fixture
def base() -> BaseModel:
    return base_models.load(tiny_model.NAME, base_models.resolve(tiny_model.NAME).revision)


@pytest.fixture
def states(base: BaseModel) -> list[dict[str, Tensor]]:
    with closing(StackedAdapters.announced(base.model, SETTINGS, worlds=1)) as adapters:
        shapes = {key: tensor.shape for key, tensor in adapters.world_state(0).items()}
    generator = torch.Generator().manual_seed(3)
    return [
        {key: 0.4 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}
        for _ in COEFFICIENTS
    ]


def changes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """s·B·A of each layer, float64, by the base model's name of the layer's weight."""
    products = {}
    for key, b_or in state.items():
        if key.endswith(".lora_B.weight"):
            a_ri = state[key.replace(".lora_B.", ".lora_A.")]
            name = key.removeprefix("base_model.model.").replace(".lora_B.weight", ".weight")
            products[name] = 1.5 * b_or.double() @ a_ri.double()
    return products


def weighted_changes(states: list[dict[str, Tensor]], weights: Any) -> dict[str, Tensor]:
    every = [changes(state) for state in states]
    return {
        name: sum(float(c) * each[name] for c, each in zip(weights, every, strict=True))
        for name in every[0]
    }


@torch.no_grad()
def logits_with(base: BaseModel, change: dict[str, Tensor]) -> Tensor:
    """The base model's logits with its weights changed in place, then put back."""
    weights = dict(base.model.named_parameters())
    before = {name: weights[name].clone() for name in change}
    for name, product in change.items():
        weights[name].add_(product.to(weights[name]))
    found: Tensor = base.model(input_ids=TOKENS).logits
    for name, weight in before.items():
        weights[name].copy_(weight)
    return found


def saved(folder: Path, state: dict[str, Tensor]) -> Path:
    rank = rank_of(state)
    alpha = alpha_at_rank(SETTINGS, rank)
    save_peft(folder, state, base_model=tiny_model.NAME, rank=rank, alpha=alpha, layers=[1])
    return folder


@torch.no_grad()
def logits_of_peft(base: BaseModel, folder: Path) -> Tensor:
    """By packages of others alone: transformers' model with PEFT's adapter."""
    model = PeftModel.from_pretrained(base.model, folder).eval()
    found: Tensor = model(input_ids=TOKENS).logits
    model.unload()
    return found


def test_the_grid_lists_every_point_once_in_order() -> None:
    halves = [[str(c) for c in point] for point in simplex_grid(3, 2)]
    assert halves == [
        ["0", "0", "1"],
        ["0", "1/2", "1/2"],
        ["0", "1", "0"],
        ["1/2", "0", "1/2"],
        ["1/2", "1/2", "0"],
        ["1", "0", "0"],
    ]
    assert simplex_grid(1, 4) == [(Fraction(1),)]
    for groups, steps in ((2, 4), (3, 4), (4, 3), (5, 6)):
        points = simplex_grid(groups, steps)
        assert len(set(points)) == len(points) == grid_size(groups, steps)
        assert points == sorted(points)
        assert {sum(point) for point in points} == {1}
        assert all(c * steps == int(c * steps) and c >= 0 for point in points for c in point)
    assert grid_size(2, 4) == 5  # C(5, 4)
    assert grid_size(30, 100) > 10**27  # known without listing it


def test_a_point_touches_the_groups_with_a_share_in_it() -> None:
    assert touched_groups(COEFFICIENTS) == [0, 2, 3]
    without_1 = [point for point in simplex_grid(3, 4) if 1 not in touched_groups(point)]
    assert without_1 == [(a, Fraction(0), c) for a, c in simplex_grid(2, 4)]


@pytest.mark.parametrize("kind", sorted(INTERPOLATIONS))
def test_the_corner_of_a_group_is_its_own_adapter_bit_for_bit(
    states: list[dict[str, Tensor]], kind: str
) -> None:
    corner = INTERPOLATIONS[kind](states, (0, 0, Fraction(1), 0))
    assert corner.keys() == states[2].keys()
    assert all(torch.equal(corner[key], states[2][key]) for key in corner)


def test_the_delta_is_the_weighted_sum_of_the_changes_at_the_groups_ranks_together(
    states: list[dict[str, Tensor]],
) -> None:
    souped = delta(states, COEFFICIENTS)
    assert rank_of(souped) == 3 * 2  # group 1 has no share
    expected = weighted_changes(states, COEFFICIENTS)
    for name, product in changes(souped).items():
        torch.testing.assert_close(product, expected[name], rtol=0, atol=1e-6)


def test_the_average_is_that_of_the_matrices_with_its_cross_terms(
    states: list[dict[str, Tensor]],
) -> None:
    souped = average(states, COEFFICIENTS)
    for key, tensor in souped.items():
        expected = 0.2 * states[0][key] + 0.6 * states[2][key] + 0.2 * states[3][key]
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)
    # (½B₀ + ½B₁)(½A₀ + ½A₁) isn't ½B₀A₀ + ½B₁A₁ but for equal adapters.
    halves = (Fraction(1, 2), Fraction(1, 2))
    mixed, exact = changes(average(states[:2], halves)), weighted_changes(states[:2], halves)
    assert max((mixed[name] - exact[name]).abs().max() for name in exact) > 0.1
    same = changes(average([states[0], states[0]], halves))
    for name, product in changes(states[0]).items():
        torch.testing.assert_close(same[name], product, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(INTERPOLATIONS))
def test_plain_peft_loads_a_soup_and_gives_the_logits_of_its_changes(
    base: BaseModel, states: list[dict[str, Tensor]], tmp_path: Path, kind: str
) -> None:
    souped = INTERPOLATIONS[kind](states, COEFFICIENTS)
    change = weighted_changes(states, COEFFICIENTS) if kind == "delta" else changes(souped)
    expected = logits_with(base, change)
    assert (expected - logits_with(base, {})).abs().max() > 0.1
    found = logits_of_peft(base, saved(tmp_path, souped))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", sorted(INTERPOLATIONS))
def test_a_stack_holds_soups_of_different_ranks_together(
    base: BaseModel, states: list[dict[str, Tensor]], kind: str
) -> None:
    points = (COEFFICIENTS, (0, 1, 0, 0), (Fraction(1, 4),) * 4)
    soups = [INTERPOLATIONS[kind](states, point) for point in points]
    rank = max(map(rank_of, soups))
    assert rank == (8 if kind == "delta" else 2)
    expected = [logits_with(base, changes(souped)) for souped in soups]
    stacked = StackedAdapters.announced(base.model, SETTINGS, worlds=len(soups), rank=rank)
    with closing(stacked) as adapters, torch.no_grad():
        for world, souped in enumerate(soups):
            adapters.load_world_state(world, souped)
        with adapters.select([0, 1, 2]):
            found = base.model(input_ids=TOKENS.repeat(3, 1)).logits
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=2e-5)


def test_pefts_own_cat_is_our_delta_and_its_linear_is_no_average(
    base: BaseModel, states: list[dict[str, Tensor]], tmp_path: Path
) -> None:
    names = [f"group{i}" for i in range(len(states))]
    folders = [saved(tmp_path / name, state) for name, state in zip(names, states, strict=True)]
    model = PeftModel.from_pretrained(base.model, folders[0], adapter_name=names[0])
    for name, folder in zip(names[1:], folders[1:], strict=True):
        model.load_adapter(folder, adapter_name=name)
    weights, found = [float(c) for c in COEFFICIENTS], {}
    for kind in ("cat", "linear"):
        model.add_weighted_adapter(names, weights, kind, combination_type=kind)
        model.set_adapter(kind)
        with torch.no_grad():
            found[kind] = model.eval()(input_ids=TOKENS).logits
    model.unload()
    exact = logits_with(base, changes(delta(states, COEFFICIENTS)))
    averaged = logits_with(base, changes(average(states, COEFFICIENTS)))
    torch.testing.assert_close(found["cat"], exact, rtol=0, atol=2e-5)
    # PEFT weights A and B by √c each, so that c = ½ of two equal adapters doubles their change.
    assert (found["linear"] - averaged).abs().max() > 0.1


@pytest.mark.parametrize("interpolate", [average, delta])
def test_coefficients_off_the_simplex_are_refused_with_their_values(
    states: list[dict[str, Tensor]], interpolate: Any
) -> None:
    with pytest.raises(ValueError, match=r"\['1/2', '1/4', '0', '0'\] sum to 3/4, expected 1"):
        interpolate(states, (Fraction(1, 2), Fraction(1, 4), 0, 0))
    with pytest.raises(ValueError, match=r"coefficients\[1\] = -1/2 of .* is not 0 or more"):
        interpolate(states, (Fraction(3, 2), Fraction(-1, 2), 0, 0))
    with pytest.raises(ValueError, match="3 coefficients for 4 adapters"):
        interpolate(states, COEFFICIENTS[:3])
    with pytest.raises(ValueError, match="0 coefficients for 0 adapters"):
        interpolate([], ())


@pytest.mark.parametrize("interpolate", [average, delta])
def test_adapters_of_different_layers_or_shapes_are_refused(
    states: list[dict[str, Tensor]], interpolate: Any
) -> None:
    key = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"
    halves, other = (Fraction(1, 2), Fraction(1, 2)), dict(states[1])
    del other[key]
    with pytest.raises(ValueError, match=r"adapter 1 and adapter 0 differ in \['base.*q_proj"):
        interpolate([states[0], other], halves)
    with pytest.raises(ValueError, match=r"q_proj.lora_A.weight is \(1, 48\) of .*\(2, 48\)"):
        interpolate([states[0], {**other, key: states[1][key][:1]}], halves)
    with pytest.raises(ValueError, match="float64 in adapter 1"):
        interpolate([states[0], {**other, key: states[1][key].double()}], halves)


def test_a_grid_of_no_groups_or_steps_is_refused() -> None:
    for groups, steps in ((0, 4), (2, 0)):
        with pytest.raises(ValueError, match=f"a grid of {groups} groups and {steps} steps"):
            simplex_grid(groups, steps)
        with pytest.raises(ValueError, match="at least 1"):
            grid_size(groups, steps)
