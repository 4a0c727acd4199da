"""Questions of paragraphs and rounds after them: what is asked, what counts, and when it ends."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from corpus_support import Told, new_questions, opened
from scripted_endpoint import Asked, ScriptedEndpoint, repeating, scripted_endpoint

from api_schemas.corpora import QuestionRound, QuestionWriting
from api_schemas.errors import LanguageModelFailed
from workers.corpora.holdout import held_out_paragraphs
from workers.corpora.paragraphs import Paragraph
from workers.corpora.questions import QuestionWriter, Written
from workers.corpora.seeds import shipped_seeds
from workers.language_models.chat import LanguageModel

PARAGRAPHS = [Paragraph(f"Chapter {k}", f"Plant number {k} wants sun.") for k in range(40)]
Ask = Callable[[Asked], str]


def texts(count: int) -> list[str]:
    return [each.text for each in PARAGRAPHS[:count]]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with scripted_endpoint(new_questions) as made:
        yield made


def write(
    generators: Sequence[LanguageModel],
    told: Told | None = None,
    paragraphs: int = 7,
    held_out: frozenset[int] = frozenset(),
    seeds: Sequence[str] | None = None,
    **settings: Any,
) -> Written:
    writer = QuestionWriter(
        generators,
        QuestionWriting(**{"rounds": 0, "per_paragraph": 3, **settings}),
        shipped_seeds() if seeds is None else seeds,
        seed=1,
        telling=(told or Told()).telling,
    )
    return writer.write(PARAGRAPHS[:paragraphs], held_out)


def examples(asked: Asked, title: str) -> list[str]:
    found = re.search(rf"{title}[^\n]*:\n((?:- [^\n]*\n?)*)", asked.last)
    return re.findall(r"- (.*)", found[1]) if found else []


def by_paragraph(endpoint: ScriptedEndpoint) -> dict[int, Asked]:
    asked = {}
    for each in endpoint.asked:
        if found := re.search(r"Section: Chapter (\d+)\n\nPlant number \1 wants sun\.", each.last):
            asked[int(found[1])] = each
    return asked


def test_each_paragraph_is_asked_once_with_six_seeds_and_two_generated_examples(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    written = write([opened(tmp_path, endpoint)])
    asked = by_paragraph(endpoint)
    assert sorted(asked) == list(range(7))
    assert len(endpoint.asked) == 7
    assert [(each.paragraph, each.round) for each in written.questions] == [
        (place, 0) for place in range(7) for _ in range(3)
    ]
    for place, each in asked.items():
        seeds = examples(each, "Questions of other subjects")
        assert len(seeds) == len(set(seeds)) == 6
        assert set(seeds) <= set(shipped_seeds())
        # Waves of 1, 2 and 4 calls: the first paragraph has no examples yet.
        generated = examples(each, "Questions that are there already")
        assert len(generated) == (0 if place == 0 else 2)
        start_of_wave = (0, 1, 1, 3, 3, 3, 3)[place]
        before = {q.text for q in written.questions if (q.paragraph or 0) < start_of_wave}
        assert set(generated) <= before


def test_what_is_asked_does_not_depend_on_how_many_calls_go_at_once(tmp_path: Path) -> None:
    found = []
    for concurrency in (1, 16):
        with scripted_endpoint(new_questions) as endpoint:
            model = opened(tmp_path / str(concurrency), endpoint, concurrency=concurrency)
            written = write([model], paragraphs=12, rounds=1)
            found.append((written, {each.text for each in endpoint.asked}))
            assert endpoint.most_at_once <= concurrency
    assert found[0] == found[1]


def test_generators_take_paragraphs_in_turn_at_the_same_time(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    with scripted_endpoint(new_questions) as other:
        write([opened(tmp_path, endpoint), opened(tmp_path, other, "other")])
        assert sorted(by_paragraph(endpoint)) == [0, 2, 4, 6]
        assert sorted(by_paragraph(other)) == [1, 3, 5]


def test_a_later_round_starts_from_each_question_of_the_last_once_with_three_seeds(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    written = write([opened(tmp_path, endpoint)], rounds=2, content_examples=8)
    later = endpoint.asked[7:]
    content = [examples(each, "Questions that learners of a subject asked") for each in later]
    # 21 questions: 3 calls with 8, 8 and 5; they bring 9 questions: 2 calls with 8 and 1.
    assert sorted(map(len, content[:3]), reverse=True) == [8, 8, 5]
    assert sorted(map(len, content[3:]), reverse=True) == [8, 1]
    for number, calls in ((0, content[:3]), (1, content[3:])):
        last = sorted(each.text for each in written.questions if each.round == number)
        assert sorted(text for call in calls for text in call) == last
    assert all(len(examples(each, "Questions of other subjects")) == 3 for each in later)
    assert [(each.round, each.asked, each.kept) for each in written.rounds] == [
        (0, 7, 21),
        (1, 3, 9),
        (2, 2, 6),
    ]
    assert {each.paragraph for each in written.questions if each.round} == {None}


def test_questions_of_held_out_paragraphs_are_in_no_request(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    held_out = held_out_paragraphs(texts(12), 0.5, seed=3)
    written = write([opened(tmp_path, endpoint)], paragraphs=12, held_out=held_out, rounds=2)
    theirs = [each.text for each in written.questions if each.paragraph in held_out]
    assert len(theirs) == 18
    for asked in endpoint.asked:
        assert not [text for text in theirs if text in asked.text]


def test_the_share_of_paragraphs_is_held_out_but_never_all_or_none() -> None:
    assert len(held_out_paragraphs(texts(20), 0.1, seed=0)) == 2
    assert len(held_out_paragraphs(texts(4), 0.1, seed=0)) == 1
    assert len(held_out_paragraphs(texts(2), 0.9, seed=0)) == 1
    assert held_out_paragraphs(texts(1), 0.9, seed=0) == frozenset()
    assert held_out_paragraphs(texts(20), 0.1, seed=0) == held_out_paragraphs(
        texts(20), 0.1, seed=0
    )
    assert len({held_out_paragraphs(texts(20), 0.1, seed=seed) for seed in range(9)}) > 1


def test_paragraphs_that_say_the_same_are_held_out_together_or_not_at_all() -> None:
    again = [f"  PLANT number\t{k}  wants\nsun." for k in range(20)]
    for seed in range(5):
        held_out = held_out_paragraphs([*texts(20), *again], 0.1, seed)
        # 2 of 20 different ones, as without the second document, each in both.
        alone = held_out_paragraphs(texts(20), 0.1, seed)
        assert held_out == alone | {place + 20 for place in alone}
    assert held_out_paragraphs(["Sun.", "sun"], 0.5, seed=0) == frozenset()


def test_near_duplicates_and_copied_examples_are_counted_and_left_out(tmp_path: Path) -> None:
    seed = "What happens if I use too much of it?"
    replies = [
        "1. Why do tomatoes crack after rain?\n2. What happens if I use too much of it, then?",
        "1. Why do the tomatoes crack after rain?\n2. When is basil sown on a balcony?",
        "I would rather not.",
    ]

    def answer(asked: Asked) -> str:
        return replies[int(re.findall(r"Plant number (\d)", asked.last)[0])]

    with scripted_endpoint(answer) as endpoint:
        written = write([opened(tmp_path, endpoint)], paragraphs=3, seeds=[seed])
    assert [each.text for each in written.questions] == [
        "Why do tomatoes crack after rain?",
        "When is basil sown on a balcony?",
    ]
    assert written.rounds == [
        QuestionRound(round=0, asked=3, written=4, unreadable=1, near_duplicates=2, kept=2)
    ]


def test_an_endpoint_that_repeats_itself_ends_the_round_early(tmp_path: Path) -> None:
    told = Told()
    with scripted_endpoint("1. Why do tomatoes crack after rain?") as endpoint:
        written = write([opened(tmp_path, endpoint)], told, paragraphs=40)
        # Waves of 1, 2, 4 and 8 calls: after 15, of which the last 14 brought nothing new.
        assert len(endpoint.asked) == 15
    assert len(written.questions) == 1
    assert "the last 14 replies of endpoint:scripted:scripted-model" in told.warnings[0]
    assert told.warnings[1] == (
        "question round 0 ends after 15 of 40 calls: no generator writes anything new"
    )


def test_a_generator_that_repeats_itself_leaves_its_turns_to_the_others(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    told = Told()
    with scripted_endpoint(repeating()) as stuck:
        models = [opened(tmp_path, stuck, "stuck"), opened(tmp_path, endpoint)]
        written = write(models, told, paragraphs=20)
        # Of the first 15 calls, in waves of 1, 2, 4 and 8, it has every second one, 8 in all.
        assert len(stuck.asked) == 8
    assert len(endpoint.asked) == 7 + 5
    assert written.rounds[0].unreadable == 8
    assert len(written.questions) == 3 * 12
    assert len(told.warnings) == 1


def test_a_first_round_without_a_question_fails_and_says_so(tmp_path: Path) -> None:
    with (
        scripted_endpoint("I can't help with that.") as endpoint,
        pytest.raises(LanguageModelFailed) as caught,
    ):
        write([opened(tmp_path, endpoint)], paragraphs=3)
    assert caught.value.code == "no_questions"
    assert "none of 3 replies held a question" in caught.value.message


def test_a_later_round_that_brings_nothing_is_the_last(tmp_path: Path) -> None:
    def answer(asked: Asked) -> str:
        return new_questions(asked) if "Section:" in asked.last else "No more."

    told = Told()
    with scripted_endpoint(answer) as endpoint:
        written = write([opened(tmp_path, endpoint)], told, rounds=5)
    assert [(each.round, each.kept) for each in written.rounds] == [(0, 21), (1, 0)]
    assert "question round 1 brought no question" in told.warnings[0]


def test_every_call_is_told_and_counted_over_the_generators(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    told = Told()
    with scripted_endpoint(new_questions) as other:
        write([opened(tmp_path, endpoint), opened(tmp_path, other, "other")], told)
    assert told.progress[-1] == (7, 7, "calls of question round 0")
    done = [each[0] for each in told.progress]
    assert done == sorted(done)


def test_fifty_different_seeds_are_shipped() -> None:
    seeds = shipped_seeds()
    assert len(seeds) == len(set(seeds)) == 50
    assert all(seed.endswith("?") for seed in seeds)
