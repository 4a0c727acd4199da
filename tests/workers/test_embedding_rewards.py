"""Reward models on embeddings: planted preferences are found, and nothing depends on chance."""

import dataclasses
import math

import numpy as np
import pytest
from embedding_support import (
    MINILM,
    TINY,
    differences,
    figures,
    fit,
    halves,
    liking,
    needs_minilm,
    planted,
)

from api_schemas.errors import InvalidInput
from workers.preferences.comparison import Comparison, Split
from workers.reward_training.feature_pairs import FeaturePairs, drawn_pairs
from workers.rewards.embedding import EmbeddingReward
from workers.rewards.interfaces import FitContext
from workers.rewards.registry import FittedRewardModel, method_named

SMALL = [128, 32]
"""Layers that train in a second; the defaults are tried with the sentence encoder."""

HEADS = ("bt_mlp", "clf_mlp", "clf_lightgbm")


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path_factory.mktemp("models")))
        yield


@pytest.mark.parametrize("head", HEADS)
def test_a_planted_preference_is_recovered_on_unseen_prompts(head: str) -> None:
    pairs = planted(500, seed=0)
    done = fit(halves(pairs, 400), name="embedding", head=head, encoder=TINY, hidden=SMALL)
    assert (differences(done.measured, pairs[400:]) > 0).mean() > 0.9
    assert figures(done)["order_consistency"] > 0.9
    assert figures(done)["order_consistency_ceiling"] == 1.0


@pytest.mark.parametrize("head", HEADS)
def test_behind_noisy_labels_the_order_is_found_and_accuracy_nears_the_noise_ceiling(
    head: str,
) -> None:
    pairs = planted(500, seed=0, noisy=True)
    held_out = pairs[400:]
    done = fit(halves(pairs, 400), name="embedding", head=head, encoder=TINY, hidden=SMALL)
    found = differences(done.measured, held_out)
    true = np.array([liking(pair.chosen) - liking(pair.rejected) for pair in held_out])
    assert (np.sign(found) == np.sign(true)).mean() > 0.9
    # Nobody who knows the taste, but not the coin, is right more often than this.
    ceiling = np.mean([1 / (1 + math.exp(-abs(margin))) for margin in true])
    assert ceiling < 0.95
    assert (found > 0).mean() > ceiling - 0.07


def test_random_labels_teach_nothing() -> None:
    random = np.random.default_rng(5)
    pairs = [
        dataclasses.replace(pair, chosen=pair.rejected, rejected=pair.chosen)
        if random.random() < 0.5
        else pair
        for pair in planted(500, seed=4)
    ]
    done = fit(halves(pairs, 300), name="embedding", encoder=TINY, hidden=SMALL)
    # 200 coin flips: standard error 0.035.
    assert abs((differences(done.measured, pairs[300:]) > 0).mean() - 0.5) < 4 * 0.036


@pytest.mark.parametrize("head", HEADS)
def test_a_model_read_back_scores_exactly_as_before_and_fitting_repeats_itself(head: str) -> None:
    pairs = planted(120, seed=1)
    texts = [pair.chosen for pair in pairs] + ["", "sun", "\ud800 no such token"]
    prompts = ["red"] * len(texts)
    settings = {"name": "embedding", "head": head, "encoder": TINY, "epochs": 4, "seed": 3}
    first = fit(halves(pairs, 100), **settings)
    again = fit(halves(pairs, 100), **settings)
    other = fit(halves(pairs, 100), **{**settings, "seed": 4})
    saved = FittedRewardModel("embedding", first.model, None).to_bytes()
    assert FittedRewardModel("embedding", again.model, None).to_bytes() == saved
    assert FittedRewardModel("embedding", other.model, None).to_bytes() != saved
    scores = first.model.score(prompts, texts)
    np.testing.assert_array_equal(FittedRewardModel.from_bytes(saved).score(prompts, texts), scores)
    assert np.isfinite(scores).all()
    assert first.model.score([], []).shape == (0,)


def test_a_score_does_not_depend_on_the_others_in_the_call() -> None:
    pairs = planted(120, seed=1)
    model = fit(halves(pairs, 100), name="embedding", encoder=TINY, epochs=4).model
    texts = [" ".join(["sun"] * n + ["rain"]) for n in (1, 9, 25, 2, 4, 30, 3)]
    together = model.score(["green"] * len(texts), texts)
    reversed_ = model.score(["green"] * len(texts), texts[::-1])[::-1]
    alone = [model.score(["green"], [text])[0] for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, reversed_, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_the_opposite_preferences_give_the_opposite_order(head: str) -> None:
    pairs = planted(400, seed=2)
    mirrored = [
        dataclasses.replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs
    ]
    settings = {"name": "embedding", "head": head, "encoder": TINY, "hidden": SMALL}
    one = differences(fit(halves(pairs, 300), **settings).measured, pairs[300:])
    other = differences(fit(halves(mirrored, 300), **settings).measured, pairs[300:])
    assert np.corrcoef(one, other)[0, 1] < -0.9


def test_a_pair_told_from_its_other_side_gives_the_same_loss() -> None:
    """(y, y′, s) and (y′, y, 1 − s) say the same."""
    import torch

    from workers.reward_training.heads import bradley_terry, classification

    random = np.random.default_rng(0)
    places, shares = np.arange(6), random.uniform(0, 1, 6)
    empty = np.zeros((0, 1), np.float32)
    pairs = FeaturePairs(empty, places, places, shares, np.zeros(6), ["p"] * 6)
    mirrored = FeaturePairs(empty, places, places, 1 - shares, np.zeros(6), ["p"] * 6)
    chosen, rejected = torch.tensor(random.normal(size=(2, 6)))
    for loss in (bradley_terry, classification):
        assert float(loss(pairs, chosen, rejected)) == pytest.approx(
            float(loss(mirrored, rejected, chosen)), abs=1e-12
        )
    # By hand: −s·log σ(Δ) − (1−s)·log σ(−Δ), with a margin of ½ taken off Δ.
    with_margin = dataclasses.replace(pairs, margins_P=np.full(6, 0.5))
    gap = (chosen - rejected).numpy() - 0.5
    by_hand = shares * np.log1p(np.exp(-gap)) + (1 - shares) * np.log1p(np.exp(gap))
    assert float(bradley_terry(with_margin, chosen, rejected)) == pytest.approx(by_hand.mean())


def _arrays(prompts: list[str], chosen: list[int], rejected: list[int]) -> FeaturePairs:
    count = len(prompts)
    return FeaturePairs(
        np.zeros((max(chosen + rejected) + 1, 1), np.float32),
        np.array(chosen),
        np.array(rejected),
        np.ones(count),
        np.zeros(count),
        prompts,
    )


def test_the_part_that_stops_training_shares_no_prompt_with_it() -> None:
    prompts = [f"p{k % 20}" for k in range(100)]
    for seed in range(5):
        pairs = _arrays(prompts, list(range(100)), list(range(100, 200)))
        training, validation = pairs.validation(seed)
        assert set(training.prompts) & set(validation.prompts) == set()
        assert (len(training), len(validation)) == (80, 20)  # 4 of 20 prompts, of 5 pairs each


def test_of_one_prompt_no_training_pair_has_a_response_that_is_held_out() -> None:
    # Every two of 6 responses, and a star: one response against 10 others, which can't be held out.
    first = [i for i in range(6) for _ in range(i + 1, 6)]
    second = [j for i in range(6) for j in range(i + 1, 6)]
    training, validation = _arrays(["p"] * 15, first, second).validation(0)
    assert (len(training), len(validation)) == (10, 5)
    assert len(set(validation.used_J) - set(training.used_J)) == 1
    training, validation = _arrays(["p"] * 10, [0] * 10, list(range(1, 11))).validation(0)
    assert (len(training), len(validation)) == (8, 2)


def test_no_more_pairs_are_trained_on_than_asked_for_and_the_seed_draws_them() -> None:
    pairs = planted(50, seed=0)
    assert drawn_pairs(pairs, 50, 0) == pairs
    drawn = drawn_pairs(pairs, 20, 1)
    assert len(set(drawn)) == 20
    assert drawn == drawn_pairs(pairs, 20, 1) != drawn_pairs(pairs, 20, 2)


def test_an_encoder_that_was_not_pinned_or_has_changed_is_refused() -> None:
    split = halves(planted(60, seed=0), 40)
    with pytest.raises(InvalidInput, match="'nobody/encoder' was not resolved"):
        fit(split, name="embedding", encoder="nobody/encoder")
    model = fit(split, name="embedding", encoder=TINY, epochs=1).model
    assert isinstance(model, EmbeddingReward)
    changed = dataclasses.replace(model.features, revision="sha256:" + "0" * 64)
    with pytest.raises(InvalidInput, match="announced was") as caught:
        dataclasses.replace(model, features=changed).score(["red"], ["sun"])
    assert caught.value.code == "base_model_changed"


def test_progress_tells_of_embeddings_and_epochs() -> None:
    told: list[tuple[str, int, int]] = []
    from embedding_support import METHOD, context

    pinned = context(TINY)
    watching = FitContext(pinned.load_file, pinned.pinned, lambda *each: told.append(each))
    split = Split(planted(30, seed=7), [])
    settings = METHOD.validate_python({"name": "embedding", "encoder": TINY, "epochs": 2})
    method_named("embedding").fit(split, settings, watching)
    texts = {text for pair in split.train for text in (pair.chosen, pair.rejected)}
    embedded = [each for each in told if each[0] == "embeddings"]
    assert embedded[-1][1] == embedded[-1][2] >= len(texts)
    assert ("epochs", 2, 2) in told


@needs_minilm
@pytest.mark.parametrize("head", HEADS)
def test_a_sentence_encoder_tells_kind_replies_from_rude_ones(head: str) -> None:
    kind = ("thank you very much", "you are most welcome", "I am glad to help", "what a joy")
    rude = ("go away", "that is a stupid question", "I do not care", "leave me alone, fool")
    topics = ("cats", "tax", "rain", "football", "bread", "music", "stars", "trains", "paint")
    pairs = [
        Comparison(f"Tell me about {topic}.", f"{good}, about {topic}", f"{bad}, about {topic}")
        for topic in topics
        for good in kind
        for bad in rude
    ]
    done = fit(halves(pairs, 96), MINILM, name="embedding", head=head, encoder=MINILM)
    assert (differences(done.measured, pairs[96:]) > 0).mean() > 0.9
