"""The audit of a tiny round: what lies bring on the pool, and once models are trained anew."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import GROUP_IDS, TASTES, TinyRound
from random_games import with_report

from workers.mechanism import closed_form, payments
from workers.mechanism.audit import Lie, fit_lie, others_mean
from workers.stages.solve import load_game

MakeRound = Callable[..., TinyRound]
TRAINING = {"steps": 24, "top_layers": None, "learning_rate": 0.02, "evaluate_every": 4}
CONSTANT = {
    "type": "lexical",
    "features": [{"type": "keywords", "words": ["absent"], "weight": 1.0}],
}


@pytest.fixture
def settled(tiny_round: MakeRound) -> Callable[..., TinyRound]:
    def make(**changes: Any) -> TinyRound:
        made = tiny_round(**{"training": TRAINING, **changes})
        made.run()
        return made

    return make


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_with_payments_no_lie_gains_and_without_them_some_does(
    settled: Callable[..., TinyRound], regularizer: str
) -> None:
    made = settled(
        counterfactuals="closed_form", regularizer={"type": regularizer, "coefficient": 2.0}
    )
    result = made.audited().result
    assert len(result.truth) == 3
    assert len(result.misreports) == 3 * (8 + 5 + 4 + 1)
    assert result.largest_gain <= 1e-9
    assert result.largest_gain_without_payments > 0.01
    assert result.retrained == []
    assert result.largest_gain_retrained is None


def test_the_audits_truth_is_the_settled_outcome(settled: Callable[..., TinyRound]) -> None:
    made = settled(counterfactuals="closed_form")
    lines = made.outcome().outcome.groups
    for truth, line in zip(made.audited().result.truth, lines, strict=True):
        assert truth.group_id == line.group_id
        assert truth.payment == pytest.approx(line.payment, abs=1e-9)
        assert truth.valuation == pytest.approx(line.valuation, abs=1e-9)
        assert truth.utility == pytest.approx(line.utility, abs=1e-9)


def test_every_replay_is_the_mechanism_on_the_changed_reports(
    settled: Callable[..., TinyRound],
) -> None:
    """Solved anew from the changed game, world by world."""
    made = settled(counterfactuals="closed_form")
    game, _ = load_game(made.context())
    for line in made.audited(alphas=[0.5, 3.0], spike=True).result.misreports:
        i, lie = GROUP_IDS.index(line.group_id), Lie(line.strategy, line.parameter)
        rewards_XJ = game.rewards_NXJ[i]
        if not lie.of_size:
            others_XJ = others_mean(game.rewards_NXJ, i)
            rewards_XJ = fit_lie(lie, rewards_XJ, others_XJ)(rewards_XJ, others_XJ)
        size = lie.reported_size(int(game.sizes_N[i]), 100)
        changed = with_report(game, i, size, rewards_XJ)
        solution = closed_form.solve(changed)
        paid = payments.affine_maximizer(changed.sizes_N, solution.values).payments_N[i]
        policy_XJ = np.exp(solution.log_policy_XJ)
        own = game.prompt_weights_X @ (policy_XJ * game.rewards_NXJ[i]).sum(1)
        assert line.reported_size == size
        assert line.payment == pytest.approx(paid, abs=1e-9)
        assert line.valuation == pytest.approx(own, abs=1e-9)
        assert line.utility == pytest.approx(game.sizes_N[i] * own - paid, abs=1e-9)


@pytest.mark.parametrize("method", ["retrain", "bound", "soup"])
def test_a_lie_gains_no_more_than_the_certificate_when_models_are_trained_for_it(
    settled: Callable[..., TinyRound], method: str
) -> None:
    training: dict[str, Any] = TRAINING
    if method == "soup":
        training = {"method": "rewarded_soups", "single": TRAINING, "grid_steps": 3}
    made = settled(counterfactuals=method, training=training)
    group = GROUP_IDS[1]
    retrain = [
        {"group_id": group, "strategy": strategy, "parameter": parameter}
        for strategy, parameter in (("inflate", 3.0), ("oppose", 1.0), ("spike", 1.0))
    ]
    audited = made.audited(group_ids=[group], alphas=[3.0], spike=False, retrain=retrain)
    result, outcome = audited.result, made.outcome().outcome
    assert [line.strategy for line in result.retrained] == ["inflate", "oppose", "spike"]
    assert result.retrained[0].reported_size == 21
    assert result.largest_gain_retrained is not None
    assert result.largest_gain_retrained <= outcome.certificate.largest_gain + 1e-9
    assert {line.group_id for line in result.misreports} == {group}
    (line,) = (line for line in outcome.groups if line.group_id == group)
    truth_utility = result.retrained[0].utility - result.retrained[0].gain
    assert truth_utility == pytest.approx(line.utility, abs=1e-9)
    assert made.artifacts.get(audited.plot_sha256).startswith(b"<?xml")


def test_a_lie_leaves_the_world_without_the_liar_as_it_was(
    settled: Callable[..., TinyRound],
) -> None:
    """Its adapter is the round's own: nothing is trained that the lie can't touch."""
    made = settled()
    before = len(made.events)
    retrain = [{"group_id": GROUP_IDS[0], "strategy": "inflate", "parameter": 2.0}]
    made.audited(group_ids=[GROUP_IDS[0]], retrain=retrain)
    trained = {
        world["world"]
        for event in made.events[before:]
        if event.type == "training_step"
        for world in event.data["worlds"]
    }
    assert trained == {"grand", f"without:{GROUP_IDS[1]}", f"without:{GROUP_IDS[2]}"}


def test_a_lie_that_would_be_refused_is_left_out(settled: Callable[..., TinyRound]) -> None:
    """A lie that makes rewards constant is one that the round would refuse."""
    red_or_not = {
        "type": "lexical",
        "features": [{"type": "keywords", "words": ["red"], "weight": 1.0}],
    }
    rules = {"counterfactuals": "closed_form", "payment_rule": "revenue_maximizing"}
    # two groups of one taste: what opposes the other at β = 1 is constant
    made = settled(tastes=(red_or_not, red_or_not), sizes=(3, 7), **rules)
    result = made.audited(alphas=[], sharpen_betas=[], oppose_betas=[1.0, 2.0]).result
    assert [(each.strategy, each.parameter) for each in result.refused] == [("oppose", 1.0)] * 2
    lines = result.misreports
    assert [(line.strategy, line.parameter) for line in lines[:2]] == [
        ("oppose", 2.0),
        ("spike", 1.0),
    ]
    assert all(line.gain <= 1e-9 for line in lines)


def test_a_group_without_preferences_can_be_audited(settled: Callable[..., TinyRound]) -> None:
    made = settled(tastes=(CONSTANT, *TASTES[1:]), counterfactuals="closed_form")
    result = made.audited(group_ids=[GROUP_IDS[0]]).result
    assert result.truth[0].payment == pytest.approx(0, abs=1e-12)  # rounding of sums
    assert result.largest_gain <= 1e-9


RED = {"type": "lexical", "features": [{"type": "keywords", "words": ["red"], "weight": 1.0}]}


@pytest.mark.parametrize("method", ["bound", "retrain", "checkpoints"])
def test_a_lie_that_hides_every_preference_is_trained_as_the_round_would_have_been(
    settled: Callable[..., TinyRound], method: str
) -> None:
    """Of two groups of one taste, what opposes the other's at β = 1 prefers nothing."""
    changes = {"sizes": (3, 7), "counterfactuals": method}
    made = settled(tastes=(RED, RED), **changes)
    retrain = [{"group_id": GROUP_IDS[0], "strategy": "oppose", "parameter": 1.0}]
    (line,) = made.audited(group_ids=[GROUP_IDS[0]], retrain=retrain).result.retrained
    silent = settled(tastes=(CONSTANT, RED), **changes).outcome().outcome
    assert line.payment == pytest.approx(silent.groups[0].payment, abs=1e-6)
    # both groups value alike, so the liar's true valuation is the other's
    assert line.valuation == pytest.approx(silent.groups[1].valuation, abs=1e-6)
    assert silent.worlds[0].chosen != "initial"


def test_showing_a_preference_that_is_none_gains_no_more_than_the_certificate(
    settled: Callable[..., TinyRound],
) -> None:
    """Its own short training then takes the place of the grand model as the world without it."""
    made = settled(
        tastes=(CONSTANT, *TASTES[1:]), counterfactuals="early_stop", counterfactual_steps=4
    )
    retrain = [{"group_id": GROUP_IDS[0], "strategy": "oppose", "parameter": 1.0}]
    (line,) = made.audited(group_ids=[GROUP_IDS[0]], retrain=retrain).result.retrained
    outcome = made.outcome().outcome
    (grand, *_) = outcome.worlds
    assert outcome.groups[0].payment == 0
    assert outcome.certificate.largest_gain == grand.welfare_optimum - grand.welfare_initial
    assert line.gain <= outcome.certificate.largest_gain
    assert line.gain > grand.optimality_gap  # the gap alone would not have been a bound
