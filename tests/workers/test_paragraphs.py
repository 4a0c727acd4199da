"""Documents cut into paragraphs: nothing lost, nothing twice, no word in two."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.corpora import Paragraphing
from workers.corpora.paragraphs import cut

PIECES = [
    *(
        "Tomatoes ",
        "want sun. ",
        "Water! ",
        "为什么番茄裂开？",
        "因为雨水。",
        "根，茎",
        "a" * 30,
        "e.g. peas ",
    ),
    *("\n", "\n\n", "# Soil\n", "## Rain\n", "Title\n===\n", "- item one\n", "2. second\n", "   "),
    *("```\ncode line\n", "```\n", "~~~\n", "\t", "\u2028", "\f", "“Why?” she said. ", "#", "…"),
]
documents = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=40).map("".join)


def lengths(shortest: int, longest: int) -> Paragraphing:
    return Paragraphing(min_characters=shortest, max_characters=longest)


def texts(document: str, shortest: int = 1, longest: int = 2000) -> list[str]:
    return [each.text for each in cut(document, lengths(shortest, longest))]


def solid(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=150, deadline=None)
@given(documents, st.integers(1, 60), st.integers(20, 120))
def test_every_character_but_white_space_is_in_exactly_one_paragraph(
    document: str, shortest: int, longest: int
) -> None:
    found = texts(document, min(shortest, longest), longest)
    assert solid("".join(found)) == solid(document)
    assert all(text == text.strip() != "" for text in found)
    place = 0
    for text in found:
        place = document.index(text, place) + len(text)


@settings(max_examples=150, deadline=None)
@given(documents, st.integers(20, 120))
def test_no_word_is_cut_and_only_a_longer_word_makes_a_paragraph_too_long(
    document: str, longest: int
) -> None:
    found = texts(document, 1, longest)
    stop = 0
    for text in found:
        start = document.index(text, stop)
        if stop and start == stop:  # no white space between this one and the one before
            between = document[stop - 1 : start + 1]
            assert re.fullmatch(r"[，、；：。！？”’」』）].|[㐀-鿿]{2}", between), between
        stop = start + len(text)
        if len(text) > longest:
            assert not re.search(r"\s", text)


def test_a_word_is_never_cut_even_where_it_is_longer_than_a_paragraph() -> None:
    word = "a" * 50
    assert texts(f"go {word} on", 1, 20) == ["go", word, "on"]


def test_blank_lines_part_paragraphs_and_short_ones_join_the_next() -> None:
    document = "One.\n\nTwo is longer.\n \nThree.\n\n\n"
    assert texts(document) == ["One.", "Two is longer.", "Three."]
    # "One." has 4 characters, with the next 20, which is enough; "Three." joins the one before.
    assert texts(document, 10) == ["One.\n\nTwo is longer.\n \nThree."]
    assert texts(document, 10, 20) == ["One.\n\nTwo is longer.", "Three."]


def test_a_heading_begins_its_first_paragraph_and_is_context_of_all() -> None:
    document = "Before.\n# Water\nIntro.\n\n## Rain\nMuch.\n\nLittle.\n\nSoil\n====\n\nBlack."
    found = cut(document, lengths(1, 2000))
    assert [(each.heading, each.text) for each in found] == [
        ("", "Before."),
        ("Water", "# Water\nIntro."),
        ("Water › Rain", "## Rain\nMuch."),
        ("Water › Rain", "Little."),
        ("Soil", "Soil\n====\n\nBlack."),
    ]


def test_paragraphs_of_two_sections_never_join() -> None:
    assert texts("# A\nOne.\n# B\nTwo.", 100) == ["# A\nOne.", "# B\nTwo."]


def test_headings_that_nothing_follows_are_kept() -> None:
    assert texts("# A\n\nOne.\n\n# B\n## C\n") == ["# A\n\nOne.", "# B\n## C"]
    assert texts("# A") == ["# A"]


def test_long_paragraphs_are_cut_between_sentences_into_about_equal_pieces() -> None:
    sentence = "Tomatoes want six hours of sun a day."
    assert len(sentence) == 37
    # 5 sentences have 189 characters: two pieces at least of 113 at most; 3 and 2 sentences.
    found = texts(" ".join([sentence] * 5), 1, 113)
    assert found == [" ".join([sentence] * 3), " ".join([sentence] * 2)]


def test_chinese_is_cut_after_its_own_full_stops_and_quotes_stay_with_their_sentence() -> None:
    document = "番茄为什么会裂开呢？因为雨后吸水太快。“要少浇水！”他说。土壤应当保持湿润。"
    assert texts(document, 1, 20) == [
        "番茄为什么会裂开呢？因为雨后吸水太快。",
        "“要少浇水！”他说。土壤应当保持湿润。",
    ]
    assert texts("番茄土壤" * 10, 1, 20) == ["番茄土壤" * 5] * 2


def test_abbreviations_do_not_end_a_sentence() -> None:
    document = "Plant legumes, e.g. Beans or peas, in May. Dr. Green waters them twice."
    assert texts(document, 1, 45) == [
        "Plant legumes, e.g. Beans or peas, in May.",
        "Dr. Green waters them twice.",
    ]


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_code_is_kept_whole_with_its_blank_lines_and_headings(fence: str) -> None:
    code = f"{fence}python\n# no heading\n\nwater()\n{fence}"
    assert texts(f"Before.\n\n{code}\n\nAfter.") == ["Before.", code, "After."]


def test_code_and_lists_that_are_too_long_are_cut_between_lines() -> None:
    code = "```\n" + "\n".join(f"water(pot_{k}, litres={k}) # a. b" for k in range(4)) + "\n```"
    for piece in texts(code, 1, 70):
        assert all(line in code.split("\n") for line in piece.split("\n"))
    items = [f"- Item {k}. It has two sentences." for k in range(4)]
    found = texts("\n\n".join(items), 1, 80)
    assert found == ["\n\n".join(items[:2]), "\n\n".join(items[2:])]


def test_a_list_whose_items_are_parted_by_blank_lines_is_one_paragraph() -> None:
    assert texts("Pots:\n- clay\n\n- wood\n\nText.") == ["Pots:\n- clay\n\n- wood", "Text."]


def test_a_document_without_words_has_no_paragraph() -> None:
    assert texts(" \n\n\t\n") == []


def test_a_heading_of_a_hundred_thousand_marks_is_read_in_no_time() -> None:
    begun = time.process_time()
    assert "".join(texts("#" + " #" * 100_000 + "x")).count("#") == 100_001
    assert time.process_time() - begun < 20


def test_a_piece_of_a_list_begins_with_its_first_word() -> None:
    assert texts("- item one\n   Tomatoes", 1, 20) == ["- item one", "Tomatoes"]
