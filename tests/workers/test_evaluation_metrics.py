"""BLEU, GLEU and ROUGE against hand-worked figures, in English and in Chinese."""

import math

import pytest

from workers.evaluation.metrics import length_penalty, overlap
from workers.evaluation.tokenization import resolved, tokens

REFERENCE = "the cat sat on the mat"
ANSWER = "the cat on the mat"


def test_the_figures_of_one_english_answer_are_those_worked_by_hand() -> None:
    """Answer of 5 words, reference of 6: brevity e^(1 − 6/5).

    1-grams 5 of 5; 2-grams the-cat, on-the, the-mat: 3 of 4; 3-grams on-the-mat: 1 of 3; 4-grams
    0 of 2, smoothed to 1/2 of a match: 1/4. GLEU: 5 + 3 + 1 + 0 = 9 matches among 5 + 4 + 3 + 2 =
    14 n-grams of the answer and 6 + 5 + 4 + 3 = 18 of the reference: 9/18.
    ROUGE-1: P = 5/5, R = 5/6, F1 = 10/11; ROUGE-2: 3/4 and 3/5, F1 = 2/3; the longest common
    subsequence is the answer, so ROUGE-L = ROUGE-1.
    """
    found = overlap([REFERENCE], [ANSWER], "words")
    brevity = math.exp(1 - 6 / 5)
    assert found.bleu_1 == pytest.approx(100 * brevity)
    assert found.bleu_2 == pytest.approx(100 * brevity * (3 / 4) ** (1 / 2))
    assert found.bleu_3 == pytest.approx(100 * brevity * (3 / 4 * 1 / 3) ** (1 / 3))
    assert found.bleu_4 == pytest.approx(100 * brevity * (3 / 4 * 1 / 3 * 1 / 4) ** (1 / 4))
    assert found.gleu == pytest.approx(50)
    assert found.rouge_1 == pytest.approx(100 * 10 / 11)
    assert found.rouge_2 == pytest.approx(100 * 2 / 3)
    assert found.rouge_l == pytest.approx(100 * 10 / 11)


def test_the_figures_of_one_chinese_answer_are_those_worked_by_hand() -> None:
    """番茄需要阳光 and 番茄喜欢阳光: 4 of 6 characters, the pairs 番茄 and 阳光 of 5, no triple.

    GLEU: 4 + 2 matches of 6 + 5 + 4 + 3 n-grams. The subsequence 番茄阳光 has 4 characters.
    """
    found = overlap(["番茄需要阳光"], ["番茄喜欢阳光"], "characters")
    assert found.bleu_1 == pytest.approx(100 * 4 / 6)
    assert found.bleu_2 == pytest.approx(100 * (4 / 6 * 2 / 5) ** (1 / 2))
    assert found.gleu == pytest.approx(100 * 6 / 18)
    assert found.rouge_1 == pytest.approx(100 * 4 / 6)
    assert found.rouge_2 == pytest.approx(100 * 2 / 5)
    assert found.rouge_l == pytest.approx(100 * 4 / 6)


def test_jieba_cuts_chinese_into_words_that_are_compared_whole() -> None:
    """番茄 需要 阳光 against 番茄 喜欢 阳光: 2 of 3 words, no pair of words."""
    assert tokens("番茄需要阳光", "jieba") == ["番茄", "需要", "阳光"]
    found = overlap(["番茄需要阳光"], ["番茄喜欢阳光"], "jieba")
    assert found.bleu_1 == pytest.approx(100 * 2 / 3)
    assert found.rouge_1 == pytest.approx(100 * 2 / 3)
    assert found.rouge_2 == 0
    assert found.gleu == pytest.approx(100 * 2 / 6)


def test_bleu_is_of_all_answers_together_and_the_others_are_means() -> None:
    """Answers `a b` (both right) and `c c c c` (one, clipped): 3 of 6 words; reference lengths
    2 + 4 = 6, so nothing is short. ROUGE-1: (1 + 1/4)/2."""
    found = overlap(["a b", "c d e f"], ["a b", "c c c c"], "words")
    assert found.bleu_1 == pytest.approx(100 * 3 / 6)
    assert found.rouge_1 == pytest.approx(100 * (1 + 1 / 4) / 2)
    assert found.gleu == pytest.approx(100 * (1 + 1 / 10) / 2)


@pytest.mark.parametrize("how", ["words", "characters", "jieba"])
def test_the_same_text_scores_100_and_an_empty_answer_0(how: str) -> None:
    text = "water the basil every morning"
    assert list(vars(overlap([text], [text], how)).values()) == pytest.approx([100] * 8)
    for empty in ("", "   \n"):
        assert set(vars(overlap([text, text], [empty, empty], how)).values()) == {0}


def test_answers_of_one_word_each_have_no_bleu_beyond_the_first() -> None:
    found = overlap(["sun", "rain"], ["sun", "rain"], "words")
    assert (found.bleu_1, found.bleu_2, found.bleu_3, found.bleu_4) == (100, 0, 0, 0)


def test_letters_case_and_spacing_do_not_count_and_punctuation_is_a_token() -> None:
    assert tokens("Don't  water,\nSTOP!", "words") == ["don't", "water", ",", "stop", "!"]
    assert tokens(" 番 茄A", "characters") == ["番", "茄", "a"]


def test_auto_takes_characters_where_most_letters_are_chinese() -> None:
    assert resolved("auto", ["番茄需要阳光 (pH 6)"]) == "characters"
    assert resolved("auto", ["tomatoes need sun", "番茄"]) == "words"
    assert resolved("auto", ["12 %"]) == "words"
    assert resolved("jieba", ["tomatoes"]) == "jieba"


def test_a_longer_answer_is_penalised_by_its_surplus_and_a_shorter_one_is_not() -> None:
    """α = 0.5: 15 characters for 10 cost 0.5·0.5; 40 for 10 cost 0.5·3."""
    assert length_penalty(0.5, "x" * 15, "y" * 10) == pytest.approx(0.25)
    assert length_penalty(0.5, "x" * 40, "y" * 10) == pytest.approx(1.5)
    assert length_penalty(0.5, "x" * 5, "y" * 10) == 0
    assert length_penalty(0.5, "", "y") == 0


def test_answers_without_their_references_are_refused() -> None:
    for references, answers in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match="answers for"):
            overlap(references, answers, "words")
