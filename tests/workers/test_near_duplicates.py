"""Near-duplicates: the later one goes, and hardly any is missed."""

import itertools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.corpora.near_duplicates import (
    NearDuplicates,
    bands,
    grams,
    jaccard,
    normalised,
)

WORDS = re.findall(
    r"\w+",
    """why do tomato plants crack after heavy rain when should basil be sown indoors which soil
    holds water best how often does a balcony box need feed what kills aphids without poison where
    can frost reach pots whose roots want more room is morning sun enough for lettuce harvest""",
)


def kept(texts: list[str], threshold: float) -> list[str]:
    index = NearDuplicates(threshold)
    return [text for text in texts if index.add(text)]


def test_similarity_is_the_share_of_common_three_grams() -> None:
    assert grams("Abcd!") == {"abc", "bcd"}
    # {abc, bcd} and {abc, bcx}: one of three.
    assert jaccard(grams("abcd"), grams("abcx")) == pytest.approx(1 / 3)
    assert grams("ab") == {"ab"}


def test_case_punctuation_width_and_white_space_make_no_difference() -> None:
    assert normalised("  Why—do tomatoes\n crack？ ") == "why do tomatoes crack"
    assert normalised("ＡＢＣ１") == "abc1"
    assert kept(["Why do tomatoes crack?", "WHY do  tomatoes crack ?!"], 0.99) == [
        "Why do tomatoes crack?"
    ]


def test_the_later_of_two_near_duplicates_goes_in_chinese_too() -> None:
    first, later = "番茄在大雨之后为什么会裂开？", "番茄在大雨之后为什么会开裂？"
    # Of 11 three-grams each the last two differ: 9 are common, of 13.
    assert jaccard(grams(first), grams(later)) == pytest.approx(9 / 13)
    assert kept([first, later, "什么时候播种罗勒？"], 0.6) == [first, "什么时候播种罗勒？"]
    assert kept([first, later], 0.7) == [first, later]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text(alphabet="ab番茄 ?", max_size=12), max_size=20), st.sampled_from([0.3, 0.7])
)
def test_no_kept_pair_that_the_index_names_is_as_similar_as_the_threshold(
    texts: list[str], threshold: float
) -> None:
    found = kept(texts, threshold)
    assert kept(found, threshold) == found
    assert found == kept(texts, threshold)
    for one, other in itertools.combinations(found, 2):
        assert grams(one) != grams(other)


def test_planted_near_duplicates_are_found_and_others_are_left() -> None:
    """At a threshold of 0.7 at least 99 % of 300 pairs with a similarity of 0.8 or more."""
    random_ = random.Random(7)
    planted = missed = 0
    while planted < 300:
        words = random_.choices(WORDS, k=random_.randint(8, 20))
        changed = list(words)
        changed[random_.randrange(len(words))] = random_.choice(WORDS)
        one, other = " ".join(words), " ".join(changed)
        if one != other and jaccard(grams(one), grams(other)) >= 0.8:
            planted += 1
            missed += len(kept([one, other], 0.7)) == 2
    assert missed <= 3
    unrelated = [" ".join(random_.choices(WORDS, k=10)) for _ in range(300)]
    pairs = itertools.combinations(map(grams, unrelated), 2)
    assert max(jaccard(*pair) for pair in pairs) < 0.7
    assert kept(unrelated, 0.7) == unrelated


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7, 0.8, 0.95])
def test_bands_find_a_pair_at_the_threshold_with_99_percent(threshold: float) -> None:
    count, rows = bands(threshold)
    assert count >= 2
    assert count * rows <= 128
    assert 1 - (1 - threshold**rows) ** count >= 0.99
    longer = 128 // (rows + 1)
    assert 1 - (1 - threshold ** (rows + 1)) ** longer < 0.99
