"""Reward models fitted to preferences: honest report cards, exact saved forms."""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api_schemas.errors import InvalidInput
from api_schemas.reward_models import PreferenceDataSpec
from workers.rewards.interfaces import FitContext
from workers.rewards.registry import FittedRewardModel, fit

XSTEST = Path(__file__).parents[2] / ".." / "shared" / "data" / "xstest"


def preference_spec(**method: Any) -> PreferenceDataSpec:
    return PreferenceDataSpec.model_validate(
        {
            "type": "preference_data",
            "file_id": "file_" + "0" * 26,
            "method": {"name": "tfidf_bradley_terry", **method},
        }
    )


def fit_pairs(pairs: list[tuple[str, str, str]], **method: Any) -> FittedRewardModel:
    lines = [json.dumps({"prompt": p, "chosen": c, "rejected": r}) for p, c, r in pairs]
    return fit(preference_spec(**method), FitContext(lambda file_id: "\n".join(lines).encode()))


def polite_pairs(count: int) -> list[tuple[str, str, str]]:
    return [(f"prompt {k}", f"thank you kindly {k}x", f"whatever pal {k}x") for k in range(count)]


def test_a_model_fitted_to_preferences_ranks_what_was_preferred_higher() -> None:
    model = fit_pairs(polite_pairs(60))
    polite, rude, unknown = model.score([""] * 3, ["thank you", "whatever", "zzz"])
    assert polite > 0 > rude
    assert unknown == 0.0
    card = model.report_card
    assert card is not None
    assert (card.n_pairs, card.n_prompts, card.n_train, card.n_holdout) == (60, 60, 48, 12)
    assert card.accuracy is not None
    assert (card.accuracy.value, card.accuracy.pairs, card.accuracy.prompts) == (1.0, 12, 12)
    assert card.accuracy.low < 0.8  # 12 right ones don't show more


def test_duplicates_and_ties_are_dropped_and_counted() -> None:
    pairs = polite_pairs(20)
    card = fit_pairs([*pairs, *pairs[:3], ("p", "same", " same ")]).report_card
    assert card is not None
    assert (card.n_pairs, card.n_duplicates_dropped, card.n_ties_dropped) == (20, 3, 1)


def test_no_prompt_is_both_trained_on_and_held_out() -> None:
    # Whole prompts of 5 pairs each: 20 % of 20 prompts hold out 4 · 5 pairs.
    pairs = [(f"p{k % 20}", f"good {k}a", f"bad {k}a") for k in range(100)]
    card = fit_pairs(pairs).report_card
    assert card is not None
    assert (card.n_prompts, card.n_train, card.n_holdout) == (20, 80, 20)


def test_random_preferences_get_an_accuracy_near_one_half() -> None:
    rng = np.random.default_rng(0)
    words = np.array(["red", "blue", "green", "loud", "quiet", "fast", "slow", "warm", "cold"])
    texts = [" ".join(rng.choice(words, 4)) + f" {k}z" for k in range(800)]
    pairs = [(f"p{k}", texts[2 * k], texts[2 * k + 1]) for k in range(400)]
    card = fit_pairs(pairs).report_card
    assert card is not None
    assert card.accuracy is not None
    # 80 held-out coin flips: standard error sqrt(0.25/80) = 0.056.
    assert abs(card.accuracy.value - 0.5) < 4 * 0.056
    assert card.accuracy.standard_error == pytest.approx(0.056, rel=0.1)
    assert card.accuracy.high - card.accuracy.low == pytest.approx(2 * 1.96 * 0.056, rel=0.15)


def test_too_little_data_gives_no_accuracy_instead_of_a_made_up_one() -> None:
    card = fit_pairs(polite_pairs(12)).report_card
    assert card is not None
    assert card.accuracy is None
    assert (card.n_train, card.n_holdout) == (12, 0)
    assert card.note
    with pytest.raises(InvalidInput, match="9 distinct pairs"):
        fit_pairs([*polite_pairs(9), ("p", "same", "same")])
    with pytest.raises(InvalidInput, match="no words"):
        fit_pairs([(f"p{k}", "!" * k, "?" * k) for k in range(1, 13)])
    bad = FitContext(lambda file_id: b'{"prompt": "p", "chosen": "c"}')
    with pytest.raises(InvalidInput, match="line 1: rejected: field required"):
        fit(preference_spec(), bad)


def test_fitting_depends_on_the_seed_alone_and_saving_changes_no_score() -> None:
    rng = np.random.default_rng(1)
    pairs = polite_pairs(30)
    texts = [text for _, chosen, rejected in pairs for text in (chosen, rejected)] + ["", "you"]
    model = fit_pairs(pairs, seed=3)
    shuffled = fit_pairs([pairs[i] for i in rng.permutation(len(pairs))], seed=3)
    assert shuffled.to_bytes() == model.to_bytes()
    restored = FittedRewardModel.from_bytes(model.to_bytes())
    assert restored.report_card == model.report_card
    before = model.score([""] * len(texts), texts)
    np.testing.assert_array_equal(restored.score([""] * len(texts), texts), before)
    assert [restored.score([""], [text])[0] for text in texts] == before.tolist()


def test_the_weights_are_the_minimiser_of_the_documented_loss() -> None:
    model = fit_pairs(polite_pairs(30), regularization=0.7)
    chosen = [c for _, c, _ in polite_pairs(30)]
    rejected = [r for _, _, r in polite_pairs(30)]
    fitted: Any = model.model
    features = fitted._fitted_vectorizer.transform(chosen + rejected).toarray()
    differences = features[:30] - features[30:]
    # ∇ = −Σ σ(−w·d) d + ρ w = 0
    slack = 1 / (1 + np.exp(differences @ fitted.weights))
    np.testing.assert_allclose(0.7 * fitted.weights, slack @ differences, atol=1e-4)


@pytest.mark.skipif(not XSTEST.exists(), reason=f"no xstest data in {XSTEST}")
@pytest.mark.parametrize("preferred", ["compliance", "refusal"])
def test_refusals_and_compliance_are_told_apart_on_unseen_prompts(preferred: str) -> None:
    by_prompt: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(XSTEST.glob("xstest_v2_completions_*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                by_prompt[row["prompt"]][row["final_label"]].append(row["completion"])
    pairs = [
        (prompt, complied, refused) if preferred == "compliance" else (prompt, refused, complied)
        for prompt, replies in by_prompt.items()
        for complied in replies["1_full_compliance"]
        for refused in replies["2_full_refusal"]
    ]
    card = fit_pairs(pairs).report_card
    assert card is not None
    assert card.n_holdout > 50
    assert card.accuracy is not None
    assert card.accuracy.low > 0.9
