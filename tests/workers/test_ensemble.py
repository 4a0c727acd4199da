"""Ensembles of reward models: one scale, four aggregates, honest disagreement."""

import numpy as np
import pytest
from embedding_support import (
    MINILM,
    TINY,
    differences,
    figures,
    fit,
    halves,
    needs_minilm,
    planted,
)
from pydantic import ValidationError

from api_schemas.errors import InvalidInput
from workers.mechanism.arrays import Floats
from workers.rewards import registry
from workers.rewards.ensemble import EnsembleReward, Member, member_methods
from workers.rewards.interfaces import HasMembers
from workers.rewards.registry import FittedRewardModel

MEMBER = {"name": "embedding", "encoder": TINY, "hidden": [32]}


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path_factory.mktemp("models")))
        yield


class Told:
    """A model that scores a response by the number that it is."""

    uses_model = False

    def __init__(self, factor: float):
        self.factor = factor

    def score(self, prompts: list[str], responses: list[str]) -> Floats:
        return self.factor * np.array([float(response) for response in responses])


def told(*factors: float, aggregate: str = "mean") -> EnsembleReward:
    return EnsembleReward([Member("told", Told(factor)) for factor in factors], aggregate)


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    # Members say 1, 2, 6 and of the second response −1, −2, −6: mean ±3, std √(14/3).
    [
        ("mean", [3, -3]),
        ("median", [2, -2]),
        ("mean_minus_std", [3 - np.sqrt(14 / 3), -3 - np.sqrt(14 / 3)]),
        ("min", [1, -6]),
    ],
)
def test_scores_are_aggregated_as_named(aggregate: str, expected: list[float]) -> None:
    model = told(1, 2, 6, aggregate=aggregate)
    np.testing.assert_allclose(model.score(["p"] * 2, ["1", "-1"]), expected)
    members = model.member_scores(["p"] * 2, ["1", "-1"])
    np.testing.assert_allclose(members.scores_MJ, [[1, -1], [2, -2], [6, -6]])
    np.testing.assert_allclose(members.weights_M, 1 / 3)


def test_members_seeds_count_up_and_base_models_go_round() -> None:
    from embedding_support import METHOD

    methods = member_methods(
        METHOD.validate_python(
            {"name": "ensemble", "members": 3, "seed": 7, "base_models": ["a", "b"]}
        )
    )
    assert [(each.seed, each.encoder) for each in methods] == [(7, "a"), (8, "b"), (9, "a")]
    tuned = METHOD.validate_python(
        {"name": "ensemble", "members": 2, "member": {"name": "bradley_terry"}, "base_models": "ab"}
        | {"base_models": ["a", "b"]}
    )
    assert [each.base_model for each in member_methods(tuned)] == ["a", "b"]


def test_a_planted_preference_is_recovered_and_members_stand_on_one_scale() -> None:
    pairs = planted(400, seed=0)
    done = fit(halves(pairs, 300), name="ensemble", members=3, member=MEMBER)
    assert (differences(done.measured, pairs[300:]) > 0).mean() > 0.9
    assert isinstance(done.model, HasMembers)
    assert isinstance(done.measured, EnsembleReward)
    texts = sorted({(p.prompt, text) for p in pairs[:300] for text in (p.chosen, p.rejected)})
    found = done.measured.member_scores(*zip(*texts, strict=True))
    np.testing.assert_allclose(found.scores_MJ.mean(1), 0, atol=1e-9)
    np.testing.assert_allclose(found.scores_MJ.std(1), 1, atol=1e-9)
    np.testing.assert_allclose(
        done.measured.score(*zip(*texts, strict=True)), found.scores_MJ.mean(0)
    )


def test_the_card_tells_each_members_accuracy_and_how_much_they_disagree() -> None:
    pairs = planted(300, seed=1, noisy=True)
    done = fit(halves(pairs, 200), name="ensemble", members=3, member=MEMBER)
    told = figures(done)
    members = [told[f"accuracy_of_member_{number}"] for number in range(3)]
    assert told["accuracy_of_members_mean"] == pytest.approx(np.mean(members))
    right = (differences(done.measured, pairs[200:]) > 0).mean()
    assert told["accuracy_of_ensemble"] == pytest.approx(right)
    assert len({round(each, 6) for each in members}) > 1 or told["disagreement"] > 0.01
    held_out = pairs[200:]
    scores = done.measured.member_scores(
        [pair.prompt for pair in held_out] * 2,
        [pair.chosen for pair in held_out] + [pair.rejected for pair in held_out],
    ).scores_MJ
    assert told["disagreement"] == pytest.approx(scores.std(0).mean())


def test_a_model_read_back_scores_exactly_as_before_and_fitting_repeats_itself() -> None:
    pairs = planted(120, seed=2)
    settings = {"name": "ensemble", "members": 2, "aggregate": "mean_minus_std"}
    members = [MEMBER, MEMBER | {"head": "clf_lightgbm", "trees": 20}]
    for member in members:
        done = fit(halves(pairs, 100), member=member, **settings)
        saved = FittedRewardModel("ensemble", done.model, None).to_bytes()
        again = fit(halves(pairs, 100), member=member, **settings)
        assert FittedRewardModel("ensemble", again.model, None).to_bytes() == saved
        restored = FittedRewardModel.from_bytes(saved)
        texts = ["sun", "rain", "red red", ""]
        np.testing.assert_array_equal(
            restored.score([""] * 4, texts), done.model.score([""] * 4, texts)
        )
        found = restored.member_scores([""] * 4, texts)
        assert found is not None
        assert found.scores_MJ.shape == (2, 4)
        with pytest.raises(ValueError, match="bytes in"):
            EnsembleReward.from_bytes(done.model.to_bytes()[:-1])


@needs_minilm
def test_members_of_different_base_models_are_put_on_one_scale() -> None:
    pairs = planted(80, seed=3)
    done = fit(
        halves(pairs, 60),
        TINY,
        MINILM,
        name="ensemble",
        members=2,
        base_models=[TINY, MINILM],
        member={"name": "embedding", "hidden": [16]},
    )
    assert isinstance(done.model, EnsembleReward)
    encoders = [member.model.features.encoder for member in done.model.members]
    assert encoders == [TINY, MINILM]


def test_a_member_that_tells_no_response_from_another_is_refused() -> None:
    with pytest.raises(InvalidInput, match="member 1 of the ensemble") as caught:
        Member("told", Told(0.0)).standardised([planted(1, seed=0)[0].__class__("p", "1", "2")], 1)
    assert caught.value.param == "file"


def test_members_that_would_all_be_the_same_are_refused() -> None:
    from embedding_support import METHOD

    with pytest.raises(ValidationError, match="the same model for every seed"):
        METHOD.validate_python({"name": "ensemble", "member": {"name": "tfidf_bradley_terry"}})
    assert hasattr(registry.method_named("ensemble"), "member_scores")
