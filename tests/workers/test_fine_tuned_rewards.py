"""Reward models by fine-tuning: the loss, what is learnt, and that the form is PEFT's own."""

import csv
import json
import time
from collections import defaultdict
from pathlib import Path

import fine_tuned_support as support
import numpy as np
import pytest
import torch
from fine_tuned_support import accuracy, bradley_terry, differences, fitted, texts, tiny_base

from api_schemas.errors import InvalidInput
from api_schemas.preference_methods import BradleyTerry
from api_schemas.reward_models import PinnedInputs
from workers import base_models
from workers.preferences.comparison import Comparison, Split
from workers.preferences.splitting import split_by_prompt
from workers.reward_training import frozen_states
from workers.reward_training.fine_tuning import preference_loss
from workers.reward_training.rows import tokenized
from workers.rewards.bradley_terry import BradleyTerryReward
from workers.rewards.interfaces import Fit, FitContext
from workers.training.stacked_lora import TARGETS, StackedAdapters

XSTEST = Path(__file__).parents[2] / ".." / "shared" / "data" / "xstest"


@pytest.fixture(scope="module")
def clean() -> Fit:
    return fitted(bradley_terry(), support.split())


def loss(chosen: float, rejected: float, share: float, margin: float, centering: float) -> float:
    told = (torch.tensor([x], dtype=torch.float64) for x in (chosen, rejected, share, margin))
    return float(preference_loss(*told, centering))


def test_the_loss_is_the_documented_one_for_labels_soft_labels_and_margins() -> None:
    assert loss(0, 0, 1, 0, 0) == pytest.approx(np.log(2))
    assert loss(2, 0.5, 1, 0, 0) == pytest.approx(np.log1p(np.exp(-1.5)))
    assert loss(2, 0.5, 1, 1.5, 0) == pytest.approx(np.log(2))  # leads by the margin only
    assert loss(2, 0.5, 0.7, 0, 0) == pytest.approx(
        0.7 * np.log1p(np.exp(-1.5)) + 0.3 * np.log1p(np.exp(1.5))
    )
    assert loss(2, 0.5, 1, 0, 0.1) == pytest.approx(np.log1p(np.exp(-1.5)) + 0.1 * 2.5**2)
    # Turned around: −m and 1 − s say the same.
    assert loss(0.5, 2, 0.3, -0.4, 0) == pytest.approx(loss(2, 0.5, 0.7, 0.4, 0))


def test_the_gradient_is_that_of_the_formula() -> None:
    rng = np.random.default_rng(1)
    chosen, rejected, margin = (torch.tensor(rng.normal(0, 3, 50)) for _ in range(3))
    share = torch.tensor(rng.uniform(0.5, 1, 50))
    chosen.requires_grad_()
    rejected.requires_grad_()
    preference_loss(chosen, rejected, share, margin, 0.3).sum().backward()
    r, q = chosen.detach().numpy(), rejected.detach().numpy()
    sigma = 1 / (1 + np.exp(-(r - q - margin.numpy())))
    pull = 2 * 0.3 * (r + q)
    np.testing.assert_allclose(chosen.grad, sigma - share.numpy() + pull, rtol=1e-10)
    np.testing.assert_allclose(rejected.grad, share.numpy() - sigma + pull, rtol=1e-10)


def test_planted_preferences_are_recovered(clean: Fit) -> None:
    assert accuracy(clean.model, support.split().holdout) > 0.9
    losses = clean.curves[0].series[0].y
    assert losses[-1] < 0.7 * losses[0]  # what LoRA adds to the probe that it starts from


def test_noisy_preferences_are_recovered_up_to_the_ceiling_of_their_noise() -> None:
    """Labels drawn with σ(worth): nobody can rank more than E max(σ, 1 − σ) of them right."""
    data = support.split(900, 300, seed=2, temperature=1.0)
    model = fitted(bradley_terry(), data).model
    gaps = np.array(
        [abs(support.worth(p.chosen) - support.worth(p.rejected)) for p in data.holdout]
    )
    ceiling = float((1 / (1 + np.exp(-gaps))).mean())
    assert 0.8 < ceiling < 0.95
    noise = (ceiling * (1 - ceiling) / len(gaps)) ** 0.5
    assert accuracy(model, data.holdout) > ceiling - 0.05 - 2 * noise
    truth = [
        Comparison(p.prompt, *sorted((p.chosen, p.rejected), key=support.worth, reverse=True))
        for p in data.holdout
    ]
    assert accuracy(model, truth) > 0.9


def test_votes_are_fitted_as_shares_and_not_as_certainties() -> None:
    """One pair, seen often: the least loss is at r⁺ − r⁻ = m + log(s/(1−s))."""
    for share, margin in ((0.8, 0.0), (0.5, 0.0), (0.8, 1.0)):
        pairs = [Comparison("sun", "red red", "rain", share, margin=margin)] * 16
        method = bradley_terry(epochs=60, learning_rate=0.01, centering=0, weight_decay=0)
        model = fitted(method, Split(pairs, [])).model
        expected = margin + np.log(share / (1 - share))
        assert differences(model, pairs[:1])[0] == pytest.approx(expected, abs=0.05)


def test_centering_keeps_the_scores_of_pairs_near_zero() -> None:
    def off_centre(centering: float) -> float:
        data = support.split(300, 100)
        model = fitted(bradley_terry(centering=centering), data).model
        prompts = [each.prompt for each in data.holdout]
        both = model.score(prompts, [each.chosen for each in data.holdout])
        both = both + model.score(prompts, [each.rejected for each in data.holdout])
        return float((both**2).mean())

    assert off_centre(1.0) < 0.3 * off_centre(0.0)


def test_the_saved_form_scores_alike_in_plain_transformers_and_peft(
    clean: Fit, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    assert isinstance(clean.model, BradleyTerryReward)
    (tmp_path / "adapter_model.safetensors").write_bytes(clean.model.to_bytes())
    settings = clean.model.settings
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": str(tiny_base().folder),
        "r": 16,
        "lora_alpha": settings["lora_alpha"],
        "target_modules": list(TARGETS),
        "modules_to_save": ["score"],
        "inference_mode": True,
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    base = AutoModelForSequenceClassification.from_pretrained(tiny_base().folder, num_labels=1)
    base.config.pad_token_id = None  # it is the end token, at which the score is read
    plain = PeftModel.from_pretrained(base, tmp_path).eval()
    prompts, responses = texts(20)
    found = []
    for each in tokenized(tiny_base(), prompts, responses, settings["max_tokens"]):
        with torch.no_grad():
            logits = plain(torch.tensor([[*each.prompt, *each.response]])).logits
        found.append(float(logits))
    np.testing.assert_allclose(clean.model.score(prompts, responses), found, atol=1e-4)
    assert np.std(found) > 0.1


def test_a_score_depends_on_its_own_prompt_and_response_alone(clean: Fit) -> None:
    prompts, responses = texts(200)
    together = clean.model.score(prompts, responses)
    for i in range(0, 200, 20):
        alone = clean.model.score([prompts[i]], [responses[i]])
        np.testing.assert_allclose(alone, together[i : i + 1], atol=1e-5)
    backwards = clean.model.score(prompts[::-1], responses[::-1])[::-1]
    np.testing.assert_allclose(backwards, together, atol=1e-5)
    assert clean.model.score([], []).shape == (0,)
    odd = clean.model.score(["", "unknown words", "\ud800"], ["", "red", "\ud800"])
    assert np.isfinite(odd).all()


def test_scores_do_not_see_adapters_that_a_round_trains_on_the_same_base(clean: Fit) -> None:
    prompts, responses = texts(30)
    before = clean.model.score(prompts, responses)
    model = tiny_base().model
    stacked = StackedAdapters(model, worlds=2, rank=4, scaling=2.0, top_layers=None, seed=0)
    for parameter in stacked.b.values():
        torch.nn.init.normal_(parameter)
    try:
        with stacked.select([0, 1]):
            tokens = torch.tensor([[1, 2, 3], [1, 2, 3]])
            tuned = model(tokens).logits
            np.testing.assert_array_equal(clean.model.score(prompts, responses), before)
            # A network that is built now, of modules that are already replaced.
            read_back = BradleyTerryReward.from_bytes(clean.model.to_bytes())
            np.testing.assert_array_equal(read_back.score(prompts, responses), before)
            assert torch.equal(model(tokens).logits, tuned)
        assert not torch.allclose(tuned, model(tokens).logits)
    finally:
        stacked.close()


def test_fitting_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    data = support.split(60, 20)
    method = bradley_terry(epochs=1, dropout=0.1)
    first = fitted(method, data).model.to_bytes()
    torch.manual_seed(123)
    assert fitted(method, data).model.to_bytes() == first
    assert fitted(bradley_terry(epochs=1, dropout=0.1, seed=1), data).model.to_bytes() != first
    assert fitted(bradley_terry(epochs=1), data).model.to_bytes() != first


def test_no_held_out_pair_enters_the_model() -> None:
    data = support.split(60, 20)
    method = bradley_terry(epochs=1)
    without = fitted(method, Split(data.train, []))
    assert fitted(method, data).model.to_bytes() == without.model.to_bytes()


def test_no_more_pairs_are_trained_on_than_max_pairs() -> None:
    fit = fitted(bradley_terry(epochs=1, max_pairs=25), support.split(60, 20))
    assert {figure.name: figure.value for figure in fit.figures}["pairs trained on"] == 25


def test_progress_is_told_to_its_end() -> None:
    told: list[tuple[str, int, int]] = []
    context = support.context()
    listening = type(context)(context.load_file, context.pinned, lambda *each: told.append(each))
    support.fit_method(bradley_terry(epochs=2), support.split(60, 20), listening)
    steps = [(done, total) for what, done, total in told if what == "steps"]
    assert steps == [(step, 6) for step in range(1, 7)]  # 2 epochs of 40 pairs, 16 a step
    frozen = [(done, total) for what, done, total in told if what == "frozen layers"]
    assert frozen[-1][0] == frozen[-1][1] > 0


def test_more_hidden_states_than_there_is_room_for_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frozen_states, "MAX_BYTES", 10_000)
    with pytest.raises(InvalidInput, match=r"lower max_pairs") as error:
        fitted(bradley_terry(), support.split(60, 20))
    assert error.value.param == "reward_model.method.max_pairs"


def test_a_base_model_that_was_not_pinned_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'elsewhere' was not resolved"):
        fitted(bradley_terry(base_model="elsewhere"), support.split(60, 20))


def test_a_fit_that_diverges_says_so() -> None:
    huge = [Comparison("sun", "red", "rain", margin=1e39)] * 12  # beyond float32
    with pytest.raises(InvalidInput, match="fine-tuning diverged: the loss is"):
        fitted(bradley_terry(), Split(huge, []))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not XSTEST.exists(), reason=f"no xstest data in {XSTEST}")
def test_refusals_and_compliance_are_told_apart_on_unseen_prompts_by_smollm2() -> None:
    data = split_by_prompt(comply_refuse_pairs(), 0.2, seed=0)
    assert len({pair.prompt for pair in data.holdout}) > 20
    name = "smollm2-135m-instruct"
    pinned = PinnedInputs(base_models={name: base_models.resolve(name).revision})
    method = BradleyTerry(name="bradley_terry", base_model=name, max_tokens=128)
    torch.set_num_threads(2)
    try:
        started = time.perf_counter()
        model = support.fit_method(method, data, FitContext(lambda _: b"", pinned)).model
        fitting = time.perf_counter()
        found = accuracy(model, data.holdout)
        scoring = time.perf_counter()
    finally:
        torch.set_num_threads(1)
    print(
        f"\n{len(data.train)} pairs fitted in {fitting - started:.0f} s, {len(data.holdout)} "
        f"scored in {scoring - fitting:.0f} s; held-out accuracy {found:.3f}"
    )
    assert found >= 0.95


def comply_refuse_pairs() -> list[Comparison]:
    """Every reply that complies against every one that refuses the same prompt."""
    replies: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(XSTEST.glob("xstest_v2_completions_*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                replies[row["prompt"]][row["final_label"]].append(row["completion"])
    return [
        Comparison(prompt, complied, refused)
        for prompt, found in sorted(replies.items())
        for complied in found["1_full_compliance"]
        for refused in found["2_full_refusal"]
    ]
