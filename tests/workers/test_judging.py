"""Language models as judges: each criterion by itself, and pairs in both orders."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from language_model_support import asking
from scripted_endpoint import Asked, ScriptedEndpoint, scripted_endpoint

from api_schemas.corpora import CriterionScore
from api_schemas.errors import LanguageModelFailed
from workers.judging.criteria import CRITERIA, judge_answers
from workers.judging.pairwise import ComparedPair, Votes, compare

SCORES = {"Factual accuracy": 9, "User satisfaction": 7, "Clarity": 10, "Condensability": 1}
GOOD, BAD = "Thank you, gladly.", "Go away."
PAIRS = [ComparedPair("How are you?", GOOD, BAD), ComparedPair("And now?", BAD, GOOD)]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with scripted_endpoint() as running:
        yield running


def by_criterion(asked: Asked) -> str:
    (name,) = [name for name in SCORES if f"Criterion. {name}:" in asked.last]
    return f"Reasons of {name}.\nScore: {SCORES[name]}"


def by_place(_: Asked) -> str:
    return "The first, as ever.\nBetter: A"


def by_content(asked: Asked) -> str:
    first_is_good = asked.last.index(GOOD) < asked.last.index(BAD)
    return f"One is polite.\nBetter: {'A' if first_is_good else 'B'}"


def test_every_criterion_is_a_call_with_its_reasons_before_its_score(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = by_criterion
    items = [("Why?", "Because it must.", "So it is."), ("How?", "Slowly.", "With care.")]
    counts: list[int] = []
    judged = judge_answers(
        asking(endpoint, tmp_path).model, items, max_tokens=50, done=counts.append
    )
    assert [[each.criterion for each in scores] for scores in judged] == [list(CRITERIA)] * 2
    assert [each.score for each in judged[0]] == list(SCORES.values())
    assert judged[1][2] == CriterionScore(
        criterion="clarity", reasons="Reasons of Clarity.", score=10
    )
    assert len(endpoint.asked) == 8
    assert counts[-1] == 8
    about_the_second = [asked for asked in endpoint.asked if "With care." in asked.last]
    assert len(about_the_second) == 4
    for asked in about_the_second:
        assert "<question>\nHow?\n</question>" in asked.last
        assert "<reference_answer>\nSlowly.\n</reference_answer>" in asked.last
        assert "So it is." not in asked.text


def test_a_judge_that_gives_no_score_is_an_error_and_no_score(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda _: "Quite good, I should say."
    with pytest.raises(LanguageModelFailed) as raised:
        judge_answers(asking(endpoint, tmp_path).model, [("Why?", "So.", "Well.")], max_tokens=50)
    assert raised.value.code == "unreadable_reply"


def test_a_pair_is_shown_in_both_orders(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.script = by_content
    votes = compare(
        asking(endpoint, tmp_path).model, "Politeness.", PAIRS, samples=1, max_tokens=50
    )
    assert votes == [Votes(1, 1, 1), Votes(0, 0, 1)]
    assert [each.preference for each in votes] == [1.0, 0.0]
    shown = [asked.last.index(GOOD) < asked.last.index(BAD) for asked in endpoint.asked]
    assert shown.count(True) == shown.count(False) == 2
    assert all("Criteria: Politeness." in asked.last for asked in endpoint.asked)
    assert {asked.body["temperature"] for asked in endpoint.asked} == {0}


def test_a_judge_of_places_prefers_nothing_and_is_found_out(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = by_place
    votes = compare(asking(endpoint, tmp_path).model, "Any.", PAIRS, samples=3, max_tokens=50)
    assert votes == [Votes(3, 0, 3)] * 2
    assert all(each.preference == 0.5 and each.is_tie for each in votes)
    assert all(each.orders_disagree for each in votes)
    assert len(endpoint.asked) == 2 * 2 * 3
    assert {asked.body["temperature"] for asked in endpoint.asked} == {0.7}
    assert {asked.body["seed"] for asked in endpoint.asked} == {0, 1, 2}


@pytest.mark.parametrize(
    ("shown_first", "shown_second", "preference", "disagree"),
    [
        (3, 3, 1.0, False),
        (3, 1, 1.0, True),  # 4 of 6 for the first; the orders say 3:0 and 1:2
        (2, 1, 0.5, True),  # 3 of 6
        (1, 1, 0.0, False),  # 2 of 6
        (0, 0, 0.0, False),
    ],
)
def test_the_majority_of_all_votes_decides(
    shown_first: int, shown_second: int, preference: float, disagree: bool
) -> None:
    votes = Votes(shown_first, shown_second, 3)
    assert (votes.preference, votes.orders_disagree) == (preference, disagree)
