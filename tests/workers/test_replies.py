"""What is read from replies, whatever form a model gives them."""

import time

import pytest

from workers.corpora.replies import answer_in, prompt_in, questions_in
from workers.language_models.chat import Reply


def reply(text: str, complete: bool = True) -> Reply:
    return Reply(text, None, prompt_tokens=1, completion_tokens=1, complete=complete)


WHY, HOW = "Why do tomatoes crack?", "How much water do they need?"


@pytest.mark.parametrize(
    "text",
    [
        f"1. {WHY}\n2. {HOW}",
        f"Here are two questions:\n\n1) {WHY}\n\n2) {HOW}\n\nI hope these help.",
        f"- {WHY}\n* {HOW}",
        f"• **{WHY}**\n• *{HOW}*",
        f"{WHY}\n{HOW}",
        f'"{WHY}"\n“{HOW}”',
        f"**1. {WHY}**\n**2. {HOW}**",
        f"Question 1: {WHY}\nQ2: {HOW}",
        f'["{WHY}", "{HOW}"]',
        f'```json\n[{{"question": "{WHY}"}}, {{"question": "{HOW}", "level": 2}}]\n```',
        f'{{"questions": ["{WHY}", "{HOW}"]}}',
        f"1. {WHY} Because of the rain.\n2. {HOW} Two litres.",
        f"<think>What about peas?\nNo.</think>1. {WHY}\n2. {HOW}",
        f"Why?\n1. {WHY}\n2. {HOW}\n3. A third [one]?",
        "1. Why do **tomatoes** crack?\n2. **How much** water do they need?",
        f"1. **Fruit:**\n{WHY}\n2. **Water:**\n{HOW}",
    ],
)
def test_questions_are_read_from_every_usual_form(text: str) -> None:
    assert questions_in(reply(text), 2) == [WHY, HOW]


def test_what_else_is_asked_around_a_list_is_none_of_it() -> None:
    text = f"Shall we begin?\n1. {WHY}\n2. {HOW}\nSure! Would you like more questions?"
    assert questions_in(reply(text), 5) == [WHY, HOW]


def test_emphasis_goes_and_a_power_stays() -> None:
    text = "1. **Powers**: what are **2**, 2**3 and 3**2?"
    assert questions_in(reply(text), 5) == ["Powers: what are 2, 2**3 and 3**2?"]


def test_chinese_questions_are_read() -> None:
    text = "1、番茄为什么会裂开？\n2、（多选）怎样浇水？\n问题3：请解释霜冻的原因。\n好的"
    assert questions_in(reply(text), 5) == [
        "番茄为什么会裂开？",
        "（多选）怎样浇水？",
        "请解释霜冻的原因。",
    ]


def test_tasks_of_a_list_are_questions_and_prose_is_none() -> None:
    prose = "Tomatoes crack after rain.\nWho asks why they do? Nobody."
    text = f"{prose}\n1. Explain why tomatoes crack.\n2. Topics:\nSo it is."
    assert questions_in(reply(text), 5) == ["Explain why tomatoes crack."]


def test_no_more_questions_are_taken_than_were_asked_for() -> None:
    assert questions_in(reply(f"{WHY}\n{HOW}"), 1) == [WHY]


def test_the_last_line_of_a_reply_that_was_cut_short_counts_only_if_it_is_whole() -> None:
    assert questions_in(reply(f"1. {WHY}\n2. How much wa", complete=False), 5) == [WHY]
    assert questions_in(reply(f"1. {WHY}\n2. {HOW}", complete=False), 5) == [WHY, HOW]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "???",
        "1.\n2.\n3.",
        "Why?",
        "asdf",
        "[]",
        "[1, 2]",
        "{",
        f"1. {'why ' * 200}?",
        "1. 番茄？",
    ],
)
def test_what_holds_no_question_gives_none(text: str) -> None:
    assert questions_in(reply(text), 5) == []


def test_a_question_that_says_one_thing_over_and_over_is_none() -> None:
    assert questions_in(reply("What is the soil of the soil " + "of the soil " * 20 + "?"), 5) == []


def test_an_answer_is_what_was_written_without_thoughts_aloud() -> None:
    assert answer_in(reply("<think>hm</think>\n They take up water. \n"), WHY) == (
        "They take up water."
    )


def test_answers_that_are_none_are_left_out() -> None:
    assert answer_in(reply(" \n"), WHY) is None
    assert answer_in(reply("..."), WHY) is None
    assert answer_in(reply("They take up wat", complete=False), WHY) is None
    assert answer_in(reply("why do tomatoes crack"), WHY) is None
    assert answer_in(reply("They take up water. " * 20), WHY) is None
    assert answer_in(reply("<think>I never came to an end"), WHY) is None


def test_a_prompt_is_what_stands_between_its_marks_else_all() -> None:
    assert prompt_in(reply("Sure!\n<prompt>\nYou are a gardener.\n</prompt>\nBetter?")) == (
        "You are a gardener."
    )
    assert prompt_in(reply('Improved prompt: "You are a gardener."')) == "You are a gardener."
    assert prompt_in(reply("```\nYou are a gardener.\n```")) == "You are a gardener."


def test_prompts_that_are_none_are_refused() -> None:
    assert prompt_in(reply("")) is None
    assert prompt_in(reply("You are a gard", complete=False)) is None
    assert prompt_in(reply("<prompt>You are.</prompt> and then", complete=False)) == "You are."
    assert prompt_in(reply("You are a gardener. " * 500)) is None


@pytest.mark.parametrize(
    "text", ["**a " * 50_000, "<prompt>" * 50_000, "<think>" * 50_000, "[" * 100_000, '"' * 10**5]
)
def test_a_hostile_reply_is_read_in_no_time(text: str) -> None:
    """Quadratic patterns would take minutes, which the test's own limit ends."""
    begun = time.process_time()
    for read in (lambda: questions_in(reply(text), 5), lambda: answer_in(reply(text), WHY)):
        assert not read()
    assert prompt_in(reply(text)) is None
    assert time.process_time() - begun < 5
