"""Preference files: what they say is read, what is wrong is named, what is dirt is counted."""

import csv
import gzip
import io
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.datasets import (
    DataValidation,
    DialogueLine,
    PreferenceLine,
    VotesLine,
)
from workers.preferences.comparison import Comparison, Preferences
from workers.preferences.formats import read_preferences, validate_preferences
from workers.preferences.lines import preference_record

HH = Path(__file__).parents[2] / ".." / "shared" / "data" / "hh-harmless-base-test.jsonl.gz"
DOCUMENT = Path(__file__).parents[2] / "docs" / "reward-models.md"
PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}
VOTES = {"prompt": "p", "responses": ["c", "r"], "votes": [3, 1]}


def read(*lines: Any) -> Preferences:
    """What JSON lines hold; streaming them must find the same."""
    data = b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )
    preferences = read_preferences(io.BytesIO(data))
    assert validate_preferences(io.BytesIO(data)) == preferences.validation
    return preferences


def read_csv(text: str) -> Preferences:
    return read_preferences(io.BytesIO(text.encode()))


def dirt(validation: DataValidation) -> dict[str, int]:
    counts = validation.model_dump(exclude={"lines", "pairs", "prompts", "problems"})
    return {name: count for name, count in counts.items() if count}


def listed(validation: DataValidation) -> list[tuple[int, str]]:
    return [(each.line, each.problem) for each in validation.problems]


def test_a_pair_says_which_response_is_better_by_which_margin_and_on_which_side() -> None:
    assert read(PAIR).comparisons == [Comparison("p", "c", "r")]
    (marked,) = read(PAIR | {"margin": 0.5, "split": "test"}).comparisons
    assert marked == Comparison("p", "c", "r", margin=0.5, split="test")
    assert read(PAIR | {"margin": None}).comparisons == [Comparison("p", "c", "r")]


@pytest.mark.parametrize(
    ("votes", "tied", "expected"),
    [
        ([3, 1], None, ("c", 3 / 4, 4)),
        ([1, 3], None, ("r", 3 / 4, 4)),
        ([2, 0], 1, ("c", 2.5 / 3, 3)),
        ([5, 0], None, ("c", 1.0, 5)),
        ([0.75, 0.25], None, ("c", 0.75, 1)),
        ([0.2, 0.5], 0.3, ("r", 0.65, 1)),
        ([0.33, 0.33], 0.33, ("c", 0.5, 1)),
        ([2, 2], None, ("c", 0.5, 4)),
        ([0, 0], 3, ("c", 0.5, 3)),
    ],
)
def test_votes_give_a_share_in_which_ties_count_half_for_each(
    votes: list[float], tied: float | None, expected: tuple[str, float, float]
) -> None:
    line = VOTES | {"votes": votes} | ({} if tied is None else {"tied_votes": tied})
    (found,) = read(line).comparisons
    assert (found.chosen, found.votes) == (expected[0], expected[2])
    assert found.share == pytest.approx(expected[1], abs=1e-12)
    assert found.is_tie == (expected[1] == 0.5)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip)
counts = st.integers(0, 5)
votes_lines = st.builds(
    lambda prompt, first, second, a, b, ties: {
        "prompt": prompt,
        "responses": [first, second],
        "votes": [a, b],
        "tied_votes": ties,
    },
    st.sampled_from(["p", "q"]),
    texts,
    texts,
    counts,
    counts,
    st.integers(1, 3),
)
fractions = st.integers(0, 100).map(lambda n: [n / 100, 1 - n / 100])


def mirrored(line: dict[str, Any]) -> dict[str, Any]:
    return line | {"responses": line["responses"][::-1], "votes": line["votes"][::-1]}


@settings(max_examples=100, deadline=None)
@given(texts, texts, fractions)
def test_a_mirrored_fraction_gives_the_same_comparison(a: str, b: str, votes: list[float]) -> None:
    if a.strip() != b.strip():
        line = {"prompt": "p", "responses": [a, b], "votes": votes}
        assert read(line).comparisons == read(mirrored(line)).comparisons


@settings(max_examples=100, deadline=None)
@given(st.lists(votes_lines, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_lines_and_of_their_responses_changes_no_comparison(
    lines: list[dict[str, Any]], rng: random.Random
) -> None:
    others = [mirrored(line) if rng.random() < 0.5 else line for line in lines]
    rng.shuffle(others)
    sound = VOTES | {"prompt": "r", "tied_votes": 1}
    expected, found = read(sound, *lines), read(*others, mirrored(sound))
    assert found.comparisons == expected.comparisons
    assert dirt(found.validation) == dirt(expected.validation)
    for each in found.comparisons:
        assert 0.5 <= each.share <= 1
        assert each.votes >= 1


def dialogue(*turns: str) -> str:
    marks = ["\n\nHuman: ", "\n\nAssistant: "]
    return "".join(marks[k % 2] + turn for k, turn in enumerate(turns))


def test_a_dialogue_of_one_turn_has_the_humans_text_as_its_prompt() -> None:
    line = {"chosen": dialogue("Hi there", "Hello."), "rejected": dialogue("Hi there", "Go away.")}
    assert read(line).comparisons == [Comparison("Hi there", "Hello.", "Go away.")]


def test_a_dialogue_of_several_turns_has_the_transcript_as_its_prompt() -> None:
    shared = ("Hi", "Hello.", "And now?")
    line = {"chosen": dialogue(*shared, "Tea."), "rejected": dialogue(*shared, "Rats.")}
    transcript = "Human: Hi\n\nAssistant: Hello.\n\nHuman: And now?"
    expected = [Comparison(transcript, "Tea.", "Rats.")]
    assert read(line).comparisons == expected
    # As an editor on Windows and a careless copy leave it.
    other = {name: text.strip().replace("\n", "\r\n") for name, text in line.items()}
    assert read(other).comparisons == expected


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (dialogue("a", "x"), dialogue("b", "y"), "differ before the last Assistant turn"),
        (dialogue("a", "x", "b", "y"), dialogue("a", "x"), "differ before"),
        (dialogue("a", "x", "b"), dialogue("a", "y"), "ends with a turn of the human"),
        ("no marks at all", dialogue("a", "y"), "no turn that begins with"),
        ("\n\nAssistant: x", "\n\nAssistant: y", 'not begin with a turn "Human:"'),
        (dialogue("", "x"), dialogue("", "y"), "the human says nothing"),
    ],
)
def test_dialogues_without_one_shared_prompt_are_left_out_and_said_why(
    chosen: str, rejected: str, reason: str
) -> None:
    good = {"chosen": dialogue("a", "x"), "rejected": dialogue("a", "y")}
    found = read(good, {"chosen": chosen, "rejected": rejected}).validation
    assert dirt(found) == {"not_a_pair": 1}
    ((line, problem),) = listed(found)
    assert line == 2
    assert reason in problem


def test_every_kind_of_dirt_is_counted_and_listed_by_line() -> None:
    def pair(chosen: str, rejected: str, prompt: str = "p", split: str = "train") -> dict[str, str]:
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "split": split}

    found = read(
        pair("a", "b"),
        pair("a", " a "),
        pair("b", "a"),
        pair("a", "b"),
        pair("a", " \n"),
        pair("", "a"),
        pair("c", "d", split="test"),
        pair("e", "f", prompt="q", split="test"),
        pair("b", "a"),
    )
    assert found.comparisons == [
        Comparison("p", "a", "b", split="train"),
        Comparison("p", "b", "a", split="train"),
        Comparison("q", "e", "f", split="test"),
    ]
    validation = found.validation
    assert (validation.lines, validation.pairs, validation.prompts) == (9, 3, 2)
    assert dirt(validation) == {
        "same_texts": 1,
        "duplicates": 2,
        "contradictions": 1,
        "empty_replies": 2,
        "prompts_in_both_splits": 1,
    }
    assert listed(validation) == [
        (2, "both replies are the same text"),
        (3, "prefers the other response than line 1"),
        (4, "says the same as line 1"),
        (5, "a reply is empty"),
        (6, "a reply is empty"),
        (7, "marked test, but line 1 marks the prompt train"),
        (9, "says the same as line 3"),
    ]


def test_tied_votes_are_kept_and_counted() -> None:
    tie = VOTES | {"votes": [2, 2]}
    found = read(VOTES | {"prompt": "q"}, tie, mirrored(tie)).validation
    assert (found.pairs, found.tied_votes, found.duplicates) == (2, 1, 1)
    assert listed(found) == [
        (2, "as many votes for either response"),
        (3, "says the same as line 2"),
    ]


def test_other_votes_on_the_same_pair_are_no_repetition() -> None:
    found = read(VOTES, VOTES | {"votes": [2, 1]}, VOTES | {"votes": [1, 2]})
    assert found.validation.pairs == 3
    assert dirt(found.validation) == {"contradictions": 1}


def test_of_each_kind_the_first_twenty_are_listed() -> None:
    empty = [{"prompt": f"p{k}", "chosen": "", "rejected": "r"} for k in range(30)]
    found = read(*empty, PAIR, PAIR).validation
    assert (found.empty_replies, found.duplicates) == (30, 1)
    assert [line for line, _ in listed(found)] == [*range(1, 21), 32]


def test_csv_says_what_json_lines_say() -> None:
    pairs = read_csv('rejected,prompt,chosen\r\n"r, ""quoted""\nline",p,c\r\n\r\nr2,q,c2\r\n')
    assert pairs.comparisons == [
        Comparison("p", "c", 'r, "quoted"\nline'),
        Comparison("q", "c2", "r2"),
    ]
    header = "prompt,response_1,response_2,votes_1,votes_2,tied_votes,split\n"
    votes = read_csv("\ufeff" + header + "p,a,b,1, 2.0 ,1,test\n")
    assert (
        votes.comparisons
        == read(
            {
                "prompt": "p",
                "responses": ["a", "b"],
                "votes": [1, 2],
                "tied_votes": 1,
                "split": "test",
            }
        ).comparisons
    )
    turns = {"chosen": dialogue("a", "x"), "rejected": dialogue("a", "y")}
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["chosen", "rejected", "margin"])
    writer.writeheader()
    writer.writerow(turns | {"margin": ""})
    assert read_csv(out.getvalue()).comparisons == read(turns).comparisons


def test_the_documented_lines_are_lines() -> None:
    documented = re.findall(r"\| `(\{.*?\})` \|", DOCUMENT.read_text())
    shapes = [type(preference_record(json.loads(line))) for line in documented]
    assert shapes == [PreferenceLine, VotesLine, DialogueLine]


@pytest.mark.skipif(not HH.exists(), reason=f"no file {HH}")
def test_the_dirt_in_a_public_preference_file_is_found_line_by_line() -> None:
    data = gzip.decompress(HH.read_bytes())
    found = read_preferences(io.BytesIO(data))
    validation = found.validation
    assert validation.lines == 2312
    assert dirt(validation) == {"empty_replies": 4, "not_a_pair": 5}
    assert [line for line, _ in listed(validation)] == [
        *(87, 517, 926, 1104),
        *(1255, 1689, 1951, 1953, 2037),
    ]
    assert len(found.comparisons) == 2312 - 4 - 5
    # 661 dialogues of one turn on 659 prompts; three of the empty replies are among them.
    single = [each.prompt for each in found.comparisons if not each.prompt.startswith("Human:")]
    assert (len(single), len(set(single))) == (658, 656)
