"""Stages on the tiny model: who takes part, what is priced, and what is delivered."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GROUP_IDS, TASTES, TinyRound

from api_schemas.errors import BadReport, InvalidInput, RoundFailed
from workers.mechanism import closed_form, payments
from workers.rewards.lexical import LexicalReward
from workers.stages.solve import load_game

MakeRound = Callable[..., TinyRound]
CONSTANT = {
    "type": "lexical",
    "features": [{"type": "keywords", "words": ["absent"], "weight": 1.0}],
}


def test_closed_form_payments_on_the_whole_output_space_equal_enumeration(
    tiny_round: MakeRound,
) -> None:
    """Against sums over all 156 responses that share no code with the mechanism."""
    made = tiny_round(counterfactuals="closed_form")
    made.run()
    game, _ = load_game(made.context())
    q, weights = np.exp(game.log_q_XJ), game.prompt_weights_X
    scores = game.sizes_N[:, None, None] * game.rewards_NXJ

    def others_welfare(policy: np.ndarray, left_out: int) -> float:
        kl = (policy * np.log(policy / q)).sum(1)
        value = (policy * np.delete(scores, left_out, 0).sum(0)).sum(1)
        return float(weights @ (value - game.coefficient * kl))

    def best(welfare: np.ndarray) -> np.ndarray:
        policy = q * np.exp(welfare / game.coefficient)
        return policy / policy.sum(1, keepdims=True)

    for i, group in enumerate(made.outcome().outcome.groups):
        without = others_welfare(best(np.delete(scores, i, 0).sum(0)), i)
        paid = without - others_welfare(best(scores.sum(0)), i)
        assert group.payment == pytest.approx(paid, rel=1e-6)


def test_the_enumerated_pool_holds_every_response_with_its_true_probability(
    tiny_round: MakeRound,
) -> None:
    made = tiny_round()
    made.run("fit_rewards", "sample_pool", "score")
    game, _ = load_game(made.context())
    assert game.log_q_XJ.shape == (4, 1 + 5 + 25 + 125)
    np.testing.assert_allclose(np.exp(game.log_q_XJ).sum(1), 1, atol=1e-12)


def test_every_method_prices_what_it_says(tiny_round: MakeRound) -> None:
    for method in ("closed_form", "bound", "retrain"):
        made = tiny_round(counterfactuals=method)
        made.run()
        outcome = made.outcome().outcome
        game, _ = load_game(made.context())
        exact = payments.affine_maximizer(game.sizes_N, closed_form.solve(game).values)
        chosen = [world.chosen for world in outcome.worlds]
        paid = [group.payment for group in outcome.groups]
        left = made.artifacts.get_json(made.digests["train"])["trained"]
        trained = {each["name"] for each in left}
        if method == "closed_form":
            assert chosen == ["pool_optimum"] * 4
            np.testing.assert_allclose(paid, exact.payments_N, atol=1e-12)
            assert outcome.certificate.largest_gain == 0
            assert trained <= {"grand"}
        elif method == "bound":
            assert chosen[1:] == ["pool_optimum"] * 3
            assert chosen[0] != "pool_optimum"
            assert trained <= {"grand"}
            assert min(p for p in paid if p is not None) >= 0
        else:
            assert "pool_optimum" not in chosen
            assert trained <= {"grand", *(f"without:{group}" for group in GROUP_IDS)}
        assert all(g.utility is not None and g.utility >= 0 for g in outcome.groups)


def test_no_world_without_a_group_is_delivered_a_model_trained_on_its_report(
    tiny_round: MakeRound,
) -> None:
    made = tiny_round()
    made.run()
    for world in made.outcome().outcome.worlds[1:]:
        assert world.chosen == "initial" or world.chosen.startswith(f"{world.world}@")


def test_a_group_s_report_cannot_touch_the_training_of_the_world_without_it(
    tiny_round: MakeRound,
) -> None:
    """Same bits, whatever the group reports: not merely close."""
    states = []
    for first_taste in (TASTES[0], TASTES[2]):
        made = tiny_round(tastes=(first_taste, *TASTES[1:]))
        made.run("fit_rewards", "sample_pool", "score", "solve", "train")
        trained = made.artifacts.get_json(made.digests["train"])["trained"]
        states.append({each["name"]: each["state"] for each in trained})
    without = f"without:{GROUP_IDS[0]}"
    assert states[0][without] == states[1][without]
    assert states[0]["grand"] != states[1]["grand"]


@pytest.mark.parametrize("method", ["closed_form", "retrain"])
def test_a_constant_reward_pays_nothing(tiny_round: MakeRound, method: str) -> None:
    made = tiny_round(tastes=(CONSTANT, *TASTES[1:]), counterfactuals=method)
    made.run()
    first = made.outcome().outcome.groups[0]
    assert first.excluded is None
    assert first.payment == 0
    assert first.amount_micro_units == 0


def test_one_group_alone_pays_for_the_divergence_it_causes(tiny_round: MakeRound) -> None:
    made = tiny_round(sizes=(5,), tastes=TASTES[:1])
    made.run()
    outcome = made.outcome().outcome
    (group,) = outcome.groups
    expected = outcome.regularizer.coefficient * outcome.worlds[0].divergence
    assert group.payment == pytest.approx(expected, rel=1e-9)
    assert outcome.worlds[1].chosen == "initial"


@pytest.fixture
def failing_lexical(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reward model that likes red returns NaN for responses with the word blue."""
    honest = LexicalReward.score

    def score(self: LexicalReward, prompts: Any, responses: Any) -> Any:
        scores = honest(self, prompts, responses)
        if '"red"' in json.dumps(json.loads(self.to_bytes())):
            scores = np.where(["blue" in text for text in responses], np.nan, scores)
        return scores

    monkeypatch.setattr(LexicalReward, "score", score)


@pytest.mark.usefixtures("failing_lexical")
def test_non_finite_scores_exclude_the_group_and_the_round_goes_on(tiny_round: MakeRound) -> None:
    made = tiny_round()
    made.run()
    first, *others = made.outcome().outcome.groups
    assert first.excluded is not None
    assert "response" in first.excluded
    assert "prompt 0" in first.excluded
    assert first.payment is first.amount_micro_units is None
    assert all(group.payment is not None for group in others)
    (event,) = [e for e in made.events if e.type == "group_excluded"]
    assert event.data["group_id"] == GROUP_IDS[0]
    assert len(made.outcome().outcome.worlds) == 3


@pytest.mark.usefixtures("failing_lexical")
def test_non_finite_scores_fail_the_round_where_the_announcement_says_so(
    tiny_round: MakeRound,
) -> None:
    made = tiny_round(on_bad_report="fail")
    with pytest.raises(RoundFailed) as caught:
        made.run()
    assert caught.value.code == "bad_report"
    assert GROUP_IDS[0] not in caught.value.message  # every group reads it
    assert "not finite" in made.events[-1].message


@pytest.mark.usefixtures("failing_lexical")
def test_the_round_fails_when_every_group_is_excluded(tiny_round: MakeRound) -> None:
    with pytest.raises(RoundFailed, match="every group was excluded") as caught:
        tiny_round(sizes=(3,), tastes=TASTES[:1]).run()
    assert caught.value.code == "all_groups_excluded"


def test_an_exception_of_a_reward_model_excludes_its_group_only(
    tiny_round: MakeRound, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = LexicalReward.score

    def score(self: LexicalReward, prompts: Any, responses: Any) -> Any:
        if b'"red"' in self.to_bytes():
            raise BadReport("no")
        return honest(self, prompts, responses)

    monkeypatch.setattr(LexicalReward, "score", score)
    made = tiny_round()
    made.run("fit_rewards", "sample_pool", "score")
    game, scores = load_game(made.context())
    assert list(scores.excluded) == [GROUP_IDS[0]]
    assert game.groups == 2


def test_an_empty_prompts_file_fails_the_round(tiny_round: MakeRound) -> None:
    with pytest.raises(InvalidInput, match="no line"):
        tiny_round(prompts=()).run()


def test_a_prompt_longer_than_the_context_is_refused_by_name(tiny_round: MakeRound) -> None:
    with pytest.raises(InvalidInput, match="prompt 1 has 70 tokens") as caught:
        tiny_round(prompts=("red", "sun " * 70)).run()
    assert caught.value.param == "prompts[1]"


def test_a_negative_payment_is_shown_or_fails_the_round_as_announced(
    tiny_round: MakeRound,
) -> None:
    """Four steps leave the world without the first group under-trained."""
    made = tiny_round()
    made.run()
    outcome = made.outcome().outcome
    payment = outcome.groups[0].payment
    assert payment is not None
    assert payment < 0
    assert any("negative payment" in warning for warning in outcome.warnings)
    assert -payment <= outcome.worlds[1].optimality_gap
    with pytest.raises(RoundFailed, match="under-trained") as caught:
        tiny_round(on_negative_payment="fail").run()
    assert caught.value.code == "negative_payment"


def test_stages_give_the_same_artifacts_when_they_run_again(tiny_round: MakeRound) -> None:
    first, second = tiny_round(), tiny_round()
    first.run()
    second.run()
    assert first.digests == second.digests


def test_the_delivered_adapter_is_the_outcome_s_in_plain_transformers_and_peft(
    tiny_round: MakeRound, tmp_path: Any
) -> None:
    """Its probabilities of all responses give the welfare and divergence that were reported."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from workers.base_models import prepare
    from workers.stages.sample_pool import load_pools

    made = tiny_round()
    made.run()
    valued = made.outcome()
    for file in valued.adapter_files:
        (tmp_path / file.name).write_bytes(made.artifacts.get(file.sha256))
    base = AutoModelForCausalLM.from_pretrained(prepare("tiny-enumerable"))
    model = PeftModel.from_pretrained(base, tmp_path).eval()
    game, _ = load_game(made.context())
    pool, _ = load_pools(made.artifacts, made.digests["sample_pool"])
    log_p = np.zeros(game.log_q_XJ.shape)
    for x, prompt in enumerate(pool.prompt_tokens):
        tokens = torch.cat([torch.tensor(prompt).expand(156, -1), pool.tokens_XJT[x]], 1)
        with torch.no_grad():
            log_probs = model(input_ids=tokens).logits.double().log_softmax(-1)
        chosen = log_probs[:, len(prompt) - 1 : -1].gather(-1, pool.tokens_XJT[x][..., None])
        valid = torch.arange(3) < pool.lengths_XJ[x][:, None]
        log_p[x] = (chosen[..., 0] * valid).sum(-1).numpy()
    policy = np.exp(log_p)
    np.testing.assert_allclose(policy.sum(1), 1, atol=1e-5)
    kl = game.prompt_weights_X @ (policy * (log_p - game.log_q_XJ)).sum(1)
    reward = np.einsum(
        "n,nxj,xj,x->", game.sizes_N, game.rewards_NXJ, policy, game.prompt_weights_X
    )
    delivered = valued.outcome.delivered
    assert delivered.chosen != "initial"
    assert delivered.divergence == pytest.approx(kl, abs=1e-5)
    assert delivered.welfare == pytest.approx(reward - game.coefficient * kl, abs=1e-4)


def test_where_training_helped_nobody_the_initial_model_is_delivered_as_an_empty_adapter(
    tiny_round: MakeRound,
) -> None:
    from safetensors.torch import load

    made = tiny_round(training={"steps": 2, "learning_rate": 1.0, "top_layers": None})
    made.run()
    valued = made.outcome()
    assert valued.outcome.delivered.chosen == "initial"
    assert any("initial model" in warning for warning in valued.outcome.warnings)
    (weights,) = [f for f in valued.adapter_files if f.name == "adapter_model.safetensors"]
    tensors = load(made.artifacts.get(weights.sha256))
    assert all((t == 0).all() for name, t in tensors.items() if "lora_B" in name)
    assert all(group.payment == 0 for group in valued.outcome.groups)
