"""WARM: an exact mean in weight space, from members that differ, and what its card tells."""

from typing import Any

import fine_tuned_support as support
import numpy as np
import pytest
import torch
from fine_tuned_support import accuracy, fitted, planted, tiny_base

from api_schemas.errors import InvalidInput
from api_schemas.preference_methods import WeightAveraged
from workers import tiny_model
from workers.preferences.comparison import Comparison, Split
from workers.reward_training.averaging_findings import connectivity_curve
from workers.reward_training.fine_tuning import examples_of, probe_head, sequences_of
from workers.reward_training.lora import LoraAdapter, combined
from workers.reward_training.network import Embedded, RewardNetwork
from workers.reward_training.rows import tokenized
from workers.reward_training.weight_averaging import Starts, flip_labels, train_members
from workers.rewards.interfaces import Fit
from workers.rewards.weight_averaged import WeightAveragedReward
from workers.tensors import pack

RATES = [0.005, 0.003, 0.008]


def warm(**settings: Any) -> WeightAveraged:
    told = {"top_layers": 1, "epochs": 3, "learning_rates": RATES, "lora_rank": 4, **settings}
    return WeightAveraged.model_validate(
        {"name": "weight_averaged", "base_model": tiny_model.NAME, **told}
    )


def random_adapter(rank: int, seed: int, *, head: bool = True, layers: int = 2) -> LoraAdapter:
    generator = torch.Generator().manual_seed(seed)
    fresh = RewardNetwork(tiny_base()).fresh_adapter(layers, rank, 2.0 * rank, seed)
    b = {
        module: torch.randn(matrix.shape, generator=generator) * 0.1
        for module, matrix in fresh.b.items()
    }
    score = torch.randn(48, generator=generator) if head else None
    return LoraAdapter(fresh.a, b, score, fresh.alpha, use_rslora=bool(seed % 2))


def delta(adapter: LoraAdapter, module: str) -> torch.Tensor:
    if module not in adapter.a:
        return torch.zeros(())
    return adapter.scaling(module) * adapter.b[module] @ adapter.a[module]


@pytest.fixture(scope="module")
def found() -> Fit:
    return fitted(warm(flipped_share=0.25), support.split(400, 150))


def figures(fit: Fit) -> dict[str, float]:
    return {figure.name: figure.value for figure in fit.figures}


def test_the_mean_of_adapters_is_the_mean_of_the_changes_that_they_make() -> None:
    """Of other ranks, scalings and layers, too; the mean of A and B would be another matrix."""
    parts = [
        (0.5, random_adapter(4, 0)),
        (0.3, random_adapter(2, 1)),
        (0.2, random_adapter(3, 2, layers=1)),
    ]
    mean = combined(parts)
    for module in mean.modules:
        expected = sum(weight * delta(part, module) for weight, part in parts)
        torch.testing.assert_close(delta(mean, module), expected, atol=1e-5, rtol=1e-5)
    assert mean.score_H is not None
    heads = sum(weight * part.score_H for weight, part in parts)
    torch.testing.assert_close(mean.score_H, heads)
    assert mean.a["layers.1.mlp.up_proj"].shape[0] == 9


def test_planted_preferences_are_recovered_by_the_average(found: Fit) -> None:
    assert accuracy(found.model, support.split(400, 150).holdout) > 0.9


def test_the_card_compares_members_average_and_ensemble(found: Fit) -> None:
    told = figures(found)
    members = [told[f"accuracy of member {k}"] for k in (1, 2, 3)]
    assert told["accuracy of the members on average"] == pytest.approx(np.mean(members))
    assert told["accuracy of the weight average"] == pytest.approx(
        accuracy(found.model, support.split(400, 150).holdout)
    )
    assert told["accuracy of the weight average, less the prediction ensemble"] == pytest.approx(
        told["accuracy of the weight average"] - told["accuracy of the prediction ensemble"]
    )
    errors = [figure.standard_error for figure in found.figures if "accuracy" in figure.name]
    assert all(error is not None for error in errors)


def test_the_second_run_is_on_flipped_labels_and_tells_how_many_are_memorised(
    found: Fit,
) -> None:
    told = figures(found)
    assert told["labels flipped"] == round(0.25 * 250)
    for who in ("the members on average", "the weight average", "the prediction ensemble"):
        assert told[f"labels flipped: accuracy of {who}"] > 0.6  # right labels outnumber them
        assert told[f"labels flipped: share memorised by {who}"] < 0.5
    assert not [
        name for name in figures(fitted(warm(epochs=1), support.split(60, 20))) if "flipped" in name
    ]


def test_between_two_members_the_curve_ends_at_them_and_is_computed_in_weight_space(
    found: Fit,
) -> None:
    curve = found.curves[1]
    told = figures(found)
    path, chord = curve.series
    assert curve.x == [k / 10 for k in range(11)]
    assert path.y[0] == chord.y[0] == told["accuracy of member 1"]
    assert path.y[-1] == chord.y[-1] == told["accuracy of member 2"]
    np.testing.assert_allclose(np.diff(chord.y, 2), 0, atol=1e-12)
    assert path.standard_errors is not None

    starts, members, examples = trained(warm())
    middle = starts.score(members.between(0.5), sequences_of(examples))
    both = combined([(0.5, each) for each in members.adapters[:2]])
    np.testing.assert_allclose(middle, starts.score(both, sequences_of(examples)), atol=1e-6)
    again = connectivity_curve(starts, members, examples, lambda *_: None)
    assert len(again.series[0].y) == 11


def trained(method: WeightAveraged, checkpoints: list[LoraAdapter] | None = None) -> Any:
    examples = examples_of(tiny_base(), planted(60), 64)
    starts = Starts.of(
        tiny_base(), checkpoints or [], [sequences_of(examples)], method.top_layers, lambda *_: None
    )
    return starts, train_members(starts, examples, method, lambda *_: None), examples


def test_members_differ_by_each_of_order_learning_rate_and_dropout_alone() -> None:
    alike = {"members": 2, "epochs": 1, "learning_rates": [0.005], "dropouts": [0.0]}
    for varied in ({}, {"learning_rates": RATES}, {"dropouts": [0.0, 0.5]}):
        _, members, _ = trained(warm(**{**alike, **varied}))
        first, second = (each.score_H for each in members.adapters)
        assert not torch.allclose(first, second)


def test_members_begin_with_the_same_probed_head() -> None:
    _, members, _ = trained(warm(epochs=1, learning_rates=[1e-12]))
    first, *others = (each.score_H for each in members.adapters)
    assert float(first.norm()) > 0.1
    for other in others:
        torch.testing.assert_close(other, first)


def test_the_probed_head_is_the_minimiser_of_the_documented_loss() -> None:
    network = RewardNetwork(tiny_base())
    examples = examples_of(tiny_base(), planted(80), 64)
    told: dict[str, Any] = {"centering": 0.1, "regularization": 0.05}
    states = Embedded(network.decoder)
    w = probe_head(network, states, examples, **told, report=lambda *_: None).double().numpy()
    network.head_H = torch.eye(48)
    features = {}
    for each in sequences_of(examples):
        with torch.no_grad():
            tokens = torch.tensor([[*each.prompt, *each.response]])
            features[each] = tiny_base().model.model(tokens).last_hidden_state[0, -1].numpy()
    f = np.array([features[each.chosen] for each in examples], dtype=np.float64)
    g = np.array([features[each.rejected] for each in examples], dtype=np.float64)
    slack = 1 / (1 + np.exp((f - g) @ w))
    # ∇ = mean(−σ(−w·d) d + 2η (w·s) s) + ρ d² w = 0, with s = f⁺ + f⁻
    gradient = (-slack[:, None] * (f - g)).mean(0)
    gradient += (2 * 0.1 * ((f + g) @ w)[:, None] * (f + g)).mean(0)
    gradient += 0.05 * ((f - g) ** 2).sum(1).mean() * w
    scale = float(np.linalg.norm((-0.5 * (f - g)).mean(0)))
    assert float(np.linalg.norm(gradient)) < 1e-3 * scale


def test_baklava_members_start_from_their_checkpoints_and_the_average_holds_them() -> None:
    """With a learning rate of nothing only the checkpoints are averaged, on all layers."""
    sft = [random_adapter(2, seed, head=False) for seed in (4, 6)]
    method = warm(members=2, epochs=1, learning_rates=[1e-12])
    starts, members, examples = trained(method, sft)
    mean = members.average
    for module in sft[0].modules:
        expected = (delta(sft[0], module) + delta(sft[1], module)) / 2
        torch.testing.assert_close(delta(mean, module), expected, atol=1e-5, rtol=1e-4)
    sequences = sequences_of(examples)
    alone = RewardNetwork(tiny_base(), [sft[1], head_only(mean)])
    np.testing.assert_allclose(
        starts.score(members.adapters[1], sequences), alone.score(sequences), atol=1e-4
    )


def head_only(adapter: LoraAdapter) -> LoraAdapter:
    return LoraAdapter({}, {}, adapter.score_H, 1.0)


def test_checkpoints_come_from_files_and_bad_ones_are_refused() -> None:
    ids = ["file_" + letter * 26 for letter in "xyz"]
    good = {
        each: pack(random_adapter(2, 4 + 2 * k, head=False).tensors(), {})
        for k, each in enumerate(ids)
    }
    data = support.split(60, 20)
    method = warm(members=2, epochs=1, checkpoints=ids[:2], checkpoint_alpha=4.0)
    fit = fitted(method, data, **good)
    assert fit.model.to_bytes() != fitted(warm(members=2, epochs=1), data).model.to_bytes()
    # Base, two checkpoints of rank 2 and two members of rank 4, side by side.
    assert isinstance(fit.model, WeightAveragedReward)
    assert {len(a) for a in fit.model.adapter().a.values()} == {2 * 2 + 2 * 4}

    with_head = {ids[0]: pack(random_adapter(2, 4).tensors(), {}), ids[1]: good[ids[1]]}
    with pytest.raises(InvalidInput, match="without a score head") as error:
        fitted(method, data, **with_head)
    assert error.value.param == "reward_model.method.checkpoints[0]"
    with pytest.raises(InvalidInput, match="3 checkpoints for 2 members"):
        WeightAveragedReward.validate(warm(members=2, checkpoints=ids))


def test_an_average_of_a_higher_rank_than_an_upload_may_have_is_read_back() -> None:
    wide = random_adapter(1100, 3)
    reward = WeightAveragedReward.from_adapter(
        wide, base_model=tiny_model.NAME, revision=support.REVISION, max_tokens=64
    )
    found = WeightAveragedReward.from_bytes(reward.to_bytes()).score(["sun"], ["red"])
    sequences = tokenized(tiny_base(), ["sun"], ["red"], 64)
    expected = RewardNetwork(tiny_base(), [wide]).score(sequences)
    np.testing.assert_array_equal(found, expected)


def test_the_same_seed_gives_the_same_average_and_no_held_out_pair_enters_it() -> None:
    data = support.split(60, 20)
    first = fitted(warm(epochs=1), data).model.to_bytes()
    assert fitted(warm(epochs=1), Split(data.train, [])).model.to_bytes() == first
    assert fitted(warm(epochs=1, seed=1), data).model.to_bytes() != first


def test_without_held_out_pairs_nothing_is_claimed_about_them() -> None:
    fit = fitted(warm(epochs=1, flipped_share=0.25), Split(planted(60), []))
    assert not [name for name in figures(fit) if "accuracy" in name]
    assert "labels flipped: share memorised by the weight average" in figures(fit)
    assert len(fit.curves) == 1


def test_flipping_turns_the_share_of_labels_around_and_nothing_else() -> None:
    examples = examples_of(tiny_base(), planted(40), 64)
    labelled, places = flip_labels(examples, 0.25, 7)
    assert len(places) == 10
    for place, (before, after) in enumerate(zip(examples, labelled, strict=True)):
        turned = (after.chosen, after.rejected) == (before.rejected, before.chosen)
        assert turned is (place in places)
        assert turned or after == before
    assert flip_labels(examples, 0.25, 7)[1] == places
    assert flip_labels(examples, 0.25, 8)[1] != places


def test_held_out_ties_of_votes_count_neither_way() -> None:
    data = support.split(60, 20)
    ties = [Comparison("sun", "red", "rain", share=0.5)] * 30
    without = figures(fitted(warm(epochs=1), data))
    assert figures(fitted(warm(epochs=1), Split(data.train, [*data.holdout, *ties]))) == without
