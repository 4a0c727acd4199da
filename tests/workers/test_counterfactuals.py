"""Every announced method on the tiny model: what it trains, chooses, prices and promises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GROUP_IDS, TASTES, TinyRound

from api_schemas.errors import RoundFailed
from workers.mechanism import closed_form, payments
from workers.mechanism.candidates import eligible_candidates
from workers.mechanism.revenue import surcharges
from workers.stages.candidates import candidates_of, touched
from workers.stages.solve import load_game

MakeRound = Callable[..., TinyRound]
TRAINING = {"steps": 12, "top_layers": None, "learning_rate": 0.02, "evaluate_every": 3}
SOUP = {"method": "rewarded_soups", "single": TRAINING, "grid_steps": 3}
METHODS: dict[str, dict[str, Any]] = {
    "closed_form": {"training": TRAINING},
    "bound": {"training": TRAINING},
    "retrain": {"training": TRAINING},
    "early_stop": {"training": TRAINING, "counterfactual_steps": 3},
    "checkpoints": {"training": TRAINING},
    "soup": {"training": SOUP},
}
CONSTANT = {
    "type": "lexical",
    "features": [{"type": "keywords", "words": ["absent"], "weight": 1.0}],
}


OTHER_TASTE = {
    "type": "lexical",
    "features": [{"type": "keywords", "words": ["green"], "weight": 1.0}],
}


@pytest.fixture(params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_every_method_settles_with_nobody_worse_off_than_it_says(
    tiny_round: MakeRound, method: str, regularizer: str
) -> None:
    made = tiny_round(
        counterfactuals=method,
        regularizer={"type": regularizer, "coefficient": 2.0},
        **METHODS[method],
    )
    made.run()
    outcome = made.outcome().outcome
    certificate = outcome.certificate
    least = -certificate.largest_gain if method == "bound" else 0.0
    for line, world in zip(outcome.groups, outcome.worlds[1:], strict=True):
        assert line.utility is not None
        assert line.payment is not None
        assert line.utility >= least - 1e-9
        assert line.payment >= -world.optimality_gap - 1e-9
        assert line.counterfactual_gap == world.optimality_gap
        assert line.reward_error_bound == 2 * line.size * (line.reward_error or 0.0)
    assert f"{outcome.worlds[0].optimality_gap:.4g}" in certificate.figures
    assert outcome.regularizer.type == regularizer
    if method == "closed_form":
        assert certificate.largest_gain == 0
    elif method == "checkpoints":
        assert certificate.largest_gain >= outcome.worlds[0].optimality_gap
        assert "Not truthful" in certificate.guarantee
    else:
        assert certificate.largest_gain == outcome.worlds[0].optimality_gap


def world_inputs(made: TinyRound, world: int) -> set[str]:
    """Digests of all that the world may choose from, and of all that these were made of."""
    candidates = candidates_of(made.context(), dict(made.digests))
    allowed_K = eligible_candidates(touched(candidates, len(GROUP_IDS)))[world]
    trained = made.artifacts.get_json(made.digests["train"])["trained"]
    carried = [c.groups for c, allowed in zip(candidates, allowed_K, strict=True) if allowed]
    found: set[str] = set()
    for each in trained:
        # an adapter is used if it is a candidate, or part of a mix that is one
        if any(set(each["groups"]) <= groups for groups in carried):
            found |= {each["state"], *each["derived_from"]}
    return found


@pytest.mark.parametrize("name", ["retrain", "early_stop", "soup"])
def test_nothing_derived_from_a_report_is_passed_to_the_world_without_it(
    tiny_round: MakeRound, name: str
) -> None:
    """By digest: of the report, its fitted reward model, and every adapter trained on it.

    And the other way round: whatever the group reports, the world without it gets the same bits.
    """
    passed, derived = [], []
    for sizes, first in (((3, 7, 5), TASTES[0]), ((9, 7, 5), OTHER_TASTE)):
        made = tiny_round(
            counterfactuals=name, sizes=sizes, tastes=(first, *TASTES[1:]), **METHODS[name]
        )
        made.run("fit_rewards", "sample_pool", "score", "solve", "train")
        fitted = made.artifacts.get_json(made.digests["fit_rewards"])["groups"]
        trained = made.artifacts.get_json(made.digests["train"])["trained"]
        derived.append(
            {made.job.reports[0].report_digest, fitted[0]["model"]}
            | {each["state"] for each in trained if 0 in each["groups"]}
        )
        passed.append(world_inputs(made, 1))
        assert derived[-1] <= world_inputs(made, 0)  # the grand world has it all
        assert {fitted[1]["model"], fitted[2]["model"]} <= passed[-1]
    assert passed[0] == passed[1]
    assert not (derived[0] | derived[1]) & passed[0]


def test_early_stop_trains_the_worlds_without_a_group_for_fewer_steps(
    tiny_round: MakeRound,
) -> None:
    made = tiny_round(counterfactuals="early_stop", **METHODS["early_stop"])
    made.run("fit_rewards", "sample_pool", "score", "solve", "train")
    trained = made.artifacts.get_json(made.digests["train"])["trained"]
    steps = {each["name"]: each["step"] for each in trained}
    assert max(step for name, step in steps.items() if name != "grand") <= 3
    rollouts = [e for e in made.events if e.type == "training_step"]
    assert len(rollouts) == 12
    for event in rollouts[3:]:
        assert [world["world"] for world in event.data["worlds"]] == ["grand"]


def test_checkpoints_lets_all_worlds_choose_among_those_of_one_training(
    tiny_round: MakeRound,
) -> None:
    made = tiny_round(counterfactuals="checkpoints", **METHODS["checkpoints"])
    made.run()
    trained = made.artifacts.get_json(made.digests["train"])["trained"]
    assert [(each["name"], each["step"]) for each in trained] == [
        ("grand", step) for step in (3, 6, 9, 12)
    ]
    names = {"initial", *(f"grand@{each['step']}" for each in trained)}
    assert {world.chosen for world in made.outcome().outcome.worlds} <= names


@pytest.mark.parametrize("interpolation", ["average", "delta"])
def test_a_soup_delivers_the_mix_it_priced(
    tiny_round: MakeRound, tmp_path: Path, interpolation: str
) -> None:
    """Loaded in plain transformers and peft, it gives the reported divergence."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from workers.base_models import prepare
    from workers.stages.sample_pool import load_pools

    training = {**SOUP, "interpolation": interpolation, "reward_weight": 12.0}
    made = tiny_round(counterfactuals="soup", training=training)
    made.run()
    valued = made.outcome()
    delivered = valued.outcome.delivered
    assert delivered is not None
    assert delivered.chosen.startswith("soup:")
    assert delivered.chosen.count("grp_") > 1
    for i, world in enumerate(valued.outcome.worlds[1:]):
        assert GROUP_IDS[i] not in world.chosen
    for file in valued.adapter_files:
        (tmp_path / file.name).write_bytes(made.artifacts.get(file.sha256))
    base = AutoModelForCausalLM.from_pretrained(prepare("tiny-enumerable"))
    model = PeftModel.from_pretrained(base, tmp_path).eval()
    game, _ = load_game(made.context())
    pool, _ = load_pools(made.artifacts, made.digests["sample_pool"])
    kl = 0.0
    for x, prompt in enumerate(pool.prompt_tokens):
        tokens = torch.cat([torch.tensor(prompt).expand(156, -1), pool.tokens_XJT[x]], 1)
        with torch.no_grad():
            log_probs = model(input_ids=tokens).logits.double().log_softmax(-1)
        chosen = log_probs[:, len(prompt) - 1 : -1].gather(-1, pool.tokens_XJT[x][..., None])
        valid = torch.arange(3) < pool.lengths_XJ[x][:, None]
        log_p = (chosen[..., 0] * valid).sum(-1).numpy()
        kl += float(game.prompt_weights_X[x] * (np.exp(log_p) * (log_p - game.log_q_XJ[x])).sum())
    assert delivered.divergence == pytest.approx(kl, abs=1e-5)


def test_a_grid_over_the_announced_budget_fails_the_round(tiny_round: MakeRound) -> None:
    # three groups at 1/3: C(5, 3) = 10 mixes
    made = tiny_round(counterfactuals="soup", training={**SOUP, "max_candidates": 9})
    with pytest.raises(RoundFailed, match="more mixes than the announced max_candidates, 9"):
        made.run()


@pytest.mark.parametrize("name", ["closed_form", "bound", "retrain", "early_stop"])
def test_revenue_maximising_adds_the_surcharge_and_leaves_utilities_as_promised(
    tiny_round: MakeRound, name: str
) -> None:
    made = tiny_round(counterfactuals=name, payment_rule="revenue_maximizing", **METHODS[name])
    made.run()
    outcome = made.outcome().outcome
    game, _ = load_game(made.context())
    expected_N = surcharges(game)
    for line, expected in zip(outcome.groups, expected_N, strict=True):
        assert line.surcharge == pytest.approx(expected, rel=1e-12)
        assert line.surcharge is not None
        assert line.payment is not None
        assert line.others_welfare_without is not None
        assert line.others_welfare_with is not None
        difference = line.others_welfare_without - line.others_welfare_with
        assert line.payment == pytest.approx(difference + line.surcharge, abs=1e-12)
        assert line.utility is not None
        assert line.utility >= -outcome.certificate.largest_gain - 1e-12
    if name == "closed_form":
        plain = payments.affine_maximizer(game.sizes_N, closed_form.solve(game).values)
        np.testing.assert_allclose(
            [line.payment for line in outcome.groups], plain.payments_N + expected_N, atol=1e-12
        )
    assert "surcharge" in outcome.certificate.guarantee


def test_revenue_maximising_refuses_a_report_without_a_preference(tiny_round: MakeRound) -> None:
    made = tiny_round(
        tastes=(CONSTANT, *TASTES[1:]),
        counterfactuals="closed_form",
        payment_rule="revenue_maximizing",
    )
    made.run()
    first = made.outcome().outcome.groups[0]
    assert first.payment is None
    assert first.excluded is not None
    assert "no report without a preference" in first.excluded


def test_a_mixture_values_all_worlds_on_samples_of_their_own(tiny_round: MakeRound) -> None:
    """Against exact expectations: the whole output space of the tiny model can be listed."""
    sampled = {
        "method": "sample",
        "samples_per_prompt": 64,
        "holdout_samples_per_prompt": 64,
        "fresh_samples_per_prompt": 64,
        "mixture_samples_per_prompt": 256,
    }
    changes = {"training": {**TRAINING, "steps": 24}, "regularizer": {"coefficient": 0.5}}
    made = tiny_round(pool=sampled, value_on="mixture", **changes)
    made.run()
    outcome = made.outcome().outcome
    assert outcome.value_on == "mixture"
    assert outcome.certificate.estimate
    assert any("sampling noise" in warning for warning in outcome.warnings)
    assert outcome.fresh is not None
    assert outcome.delivered is not None
    error = 6 * outcome.fresh.welfare_standard_error  # of two independent estimates
    assert outcome.delivered.welfare == pytest.approx(outcome.fresh.welfare, abs=error)
    assert outcome.holdout is not None
    assert outcome.holdout.welfare <= outcome.holdout.welfare_optimum
    for line in outcome.groups:
        assert line.utility is not None
        assert line.utility >= -1e-9
