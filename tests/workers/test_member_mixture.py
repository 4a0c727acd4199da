"""Reward models with members in a round: as a mixture, or by an aggregate whose ε is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import GROUP_IDS, TinyRound
from members_support import CONSTANT, FIRST, SECOND, THIRD, Voices, fitted, with_trained

from api_schemas.errors import BadReport
from api_schemas.lexical import LexicalSpec
from workers.mechanism.normalise import ScoreRange
from workers.rewards.interfaces import MemberScores
from workers.rewards.lexical import LexicalReward
from workers.rewards.member_mixture import (
    MemberMixtureReward,
    largest_disagreement,
    member_ranges,
    mixture,
)
from workers.rewards.registry import FittedRewardModel
from workers.stages.sample_pool import load_pools
from workers.stages.score import ScoredGroup, Scores
from workers.stages.solve import load_game
from workers.stages.train import group_rewards
from workers.tensors import pack, unpack

MakeRound = Callable[..., TinyRound]
TO_SCORES = ("fit_rewards", "sample_pool", "score")


def on_the_pool(made: TinyRound, taste: dict[str, Any]) -> np.ndarray:
    """The taste's raw scores of the pool, shape (X, J)."""
    pool, _ = load_pools(made.artifacts, made.digests["sample_pool"])
    model = LexicalReward(LexicalSpec.model_validate(taste))
    return model.score(*pool.flat_texts()).reshape(pool.lengths_XJ.shape)


def normalised(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.min()) / (scores.max() - scores.min())


def test_a_mixture_of_members_is_worth_as_much_as_groups_of_these_members(
    tiny_round: MakeRound,
) -> None:
    """10 agents of weights 0.3 and 0.7 choose as 3 and 7 agents, and others pay the same."""
    mixed = with_trained(
        tiny_round(sizes=(5,), tastes=(THIRD,), counterfactuals="closed_form"),
        fitted((FIRST, SECOND), (0.3, 0.7)),
        "mixture",
        10,
    )
    apart = tiny_round(
        sizes=(5, 3, 7), tastes=(THIRD, FIRST, SECOND), counterfactuals="closed_form"
    )
    for made in (mixed, apart):
        made.run()
    one, two = mixed.outcome().outcome, apart.outcome().outcome
    assert one.worlds[0].welfare_optimum == pytest.approx(two.worlds[0].welfare_optimum, rel=1e-12)
    assert one.groups[1].payment == pytest.approx(two.groups[0].payment, rel=1e-9)
    own = [group.valuation for group in two.groups[1:]]
    assert one.groups[0].valuation == pytest.approx(0.3 * own[0] + 0.7 * own[1], rel=1e-12)
    assert one.groups[0].reward_error == 0.0


def test_every_member_is_normalised_by_its_own_range_on_the_pool(tiny_round: MakeRound) -> None:
    louder = {**SECOND, "features": [{**each, "weight": 50.0} for each in SECOND["features"]]}
    made = with_trained(tiny_round(), fitted((FIRST, louder), (0.25, 0.75)), "mixture", 3)
    made.run(*TO_SCORES)
    scores = Scores.load(made.artifacts, made.digests["score"])
    expected = 0.25 * normalised(on_the_pool(made, FIRST))
    expected += 0.75 * normalised(on_the_pool(made, SECOND))
    np.testing.assert_allclose(scores.rewards_NXJ[0], expected, atol=1e-12)
    assert scores.groups[0].range == ScoreRange(0.0, 1.0)


def test_what_is_trained_on_is_the_same_mixture(tiny_round: MakeRound) -> None:
    """The stored model gives the same rewards to the same texts as the stage did."""
    made = with_trained(tiny_round(), fitted((FIRST, SECOND), (0.25, 0.75)), "mixture", 3)
    made.run(*TO_SCORES)
    scores = Scores.load(made.artifacts, made.digests["score"])
    pool, _ = load_pools(made.artifacts, made.digests["sample_pool"])
    rewards_NM = group_rewards(made.artifacts, scores)(*pool.flat_texts())
    np.testing.assert_array_equal(rewards_NM[0], scores.rewards_NXJ[0].ravel())


def test_a_member_without_a_preference_adds_nothing(tiny_round: MakeRound) -> None:
    made = with_trained(tiny_round(), fitted((FIRST, CONSTANT), (0.5, 0.5)), "mixture", 3)
    made.run(*TO_SCORES)
    game, _ = load_game(made.context())
    np.testing.assert_allclose(
        game.rewards_NXJ[0], 0.5 * normalised(on_the_pool(made, FIRST)), atol=1e-12
    )
    silent = with_trained(tiny_round(), fitted((CONSTANT, CONSTANT), (0.5, 0.5)), "mixture", 3)
    silent.run()
    assert silent.outcome().outcome.groups[0].payment == 0.0


def test_a_mixture_of_a_model_without_members_is_refused(tiny_round: MakeRound) -> None:
    model = FittedRewardModel("lexical", LexicalReward(LexicalSpec.model_validate(FIRST)), None)
    made = with_trained(tiny_round(), model, "mixture", 3)
    made.run(*TO_SCORES)
    reason = Scores.load(made.artifacts, made.digests["score"]).excluded[GROUP_IDS[0]]
    assert "'lexical' has no members" in reason


def test_the_disagreement_of_members_is_the_reward_error_of_their_aggregate(
    tiny_round: MakeRound,
) -> None:
    made = with_trained(tiny_round(), fitted((FIRST, SECOND), (0.5, 0.5)), "aggregate", 3)
    made.run()
    members = np.stack([on_the_pool(made, FIRST), on_the_pool(made, SECOND)])
    mean = members.mean(0)
    expected = np.abs(members - mean).max() / (mean.max() - mean.min())
    line, other = made.outcome().outcome.groups[:2]
    assert line.reward_error == pytest.approx(expected)
    assert line.reward_error_bound == pytest.approx(2 * 3 * expected)
    assert other.reward_error == 0.0  # the tiny pool is enumerated, and has no members


def test_members_that_agree_have_no_error(tiny_round: MakeRound) -> None:
    made = with_trained(tiny_round(), fitted((FIRST, FIRST), (0.4, 0.6)), "aggregate", 3)
    made.run(*TO_SCORES)
    group = Scores.load(made.artifacts, made.digests["score"]).groups[0]
    assert group.member_error == pytest.approx(0.0, abs=1e-12)


def test_a_members_score_that_is_no_number_excludes_its_group(
    tiny_round: MakeRound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the aggregate, a median say, hides it."""
    honest = Voices.member_scores

    def member_scores(self: Voices, prompts: Any, responses: Any) -> MemberScores:
        found = honest(self, prompts, responses)
        found.scores_MJ[1, 7] = np.nan
        return found

    monkeypatch.setattr(Voices, "member_scores", member_scores)
    monkeypatch.setattr(Voices, "aggregated", lambda _, members: members.scores_MJ[0])
    for members in ("aggregate", "mixture"):
        made = with_trained(tiny_round(), fitted((FIRST, SECOND), (0.5, 0.5)), members, 3)
        made.run(*TO_SCORES)
        reason = Scores.load(made.artifacts, made.digests["score"]).excluded[GROUP_IDS[0]]
        assert "member 2: the score of response 7 to prompt 0 is nan" in reason


def test_a_small_group_of_opposites_is_refused_where_it_would_pay_more_than_it_gains(
    tiny_round: MakeRound,
) -> None:
    """The surcharge is the utility of one agent that wants a single response with reward 1; this
    one reaches 1/2 and so might gain less. Two such agents reach 1 together."""
    opposite = {**FIRST, "features": [{**each, "weight": -1.0} for each in FIRST["features"]]}
    model = fitted((FIRST, opposite), (0.5, 0.5))
    for size, refused in ((1, True), (2, False)):
        made = with_trained(
            tiny_round(payment_rule="revenue_maximizing", counterfactuals="closed_form"),
            model,
            "mixture",
            size,
        )
        made.run(*TO_SCORES)
        excluded = Scores.load(made.artifacts, made.digests["score"]).excluded
        assert (GROUP_IDS[0] in excluded) is refused
        if refused:
            assert "size, 1, times that is below 1" in excluded[GROUP_IDS[0]]


def test_a_mixture_reads_back_as_the_same_model() -> None:
    inner = fitted((FIRST, SECOND), (0.3, 0.7))
    ranges = (ScoreRange(0.0, 1.5), ScoreRange(-1 / 3, 2.0))
    model = FittedRewardModel("member_mixture", MemberMixtureReward(inner, ranges), None)
    again = FittedRewardModel.from_bytes(model.to_bytes())
    texts = ["red sun", "rain", ""]
    scores = model.score(["p"] * 3, texts)
    np.testing.assert_array_equal(again.score(["p"] * 3, texts), scores)
    assert again.uses_model


def test_members_beyond_their_ranges_and_off_the_aggregate_by_hand() -> None:
    members = MemberScores(np.array([0.25, 0.75]), np.array([[2.0, 6.0], [1.0, np.inf]]))
    found = mixture(members, (ScoreRange(0.0, 4.0), ScoreRange(1.0, 3.0)))
    # 0.25·2/4 + 0.75·0; 0.25·6/4 + 0.75·∞, which is no number
    assert found[0] == 0.125
    assert np.isnan(found[1])
    scores_MXJ = np.array([[[0.0, 4.0]], [[2.0, 1.0]]])
    used_XJ = np.array([[0.0, 1.0]])
    # On the range [1, 3]: −1/2 and 3/2; 1/2 and 0.
    error = largest_disagreement(scores_MXJ, used_XJ, ScoreRange(1.0, 3.0), "g")
    assert error == pytest.approx(1.0)
    assert largest_disagreement(scores_MXJ, used_XJ, ScoreRange(1.0, 1.0), "g") == 0.0
    with pytest.raises(BadReport, match="too far"):
        largest_disagreement(scores_MXJ * 1e307, used_XJ, ScoreRange(0.0, 1e-9), "g")
    with pytest.raises(BadReport, match="g, member 2"):
        member_ranges(np.array([[[1.0]], [[np.nan]]]), "g")


def test_scores_of_rounds_settled_before_there_were_members_can_be_read(
    tiny_round: MakeRound,
) -> None:
    made = tiny_round()
    made.run(*TO_SCORES)
    tensors, meta = unpack(made.artifacts.get(made.digests["score"]))
    for group in meta["groups"]:
        del group["member_error"]
    old = Scores.load(made.artifacts, made.artifacts.put(pack(tensors, meta)))
    assert [type(group) for group in old.groups] == [ScoredGroup] * 3
    assert {group.member_error for group in old.groups} == {0.0}
