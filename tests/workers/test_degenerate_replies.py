"""Replies that say one thing over and over are told from those that merely insist."""

import pytest
from scripted_endpoint import repeating

from workers.language_models.degenerate import repeats_itself


@pytest.mark.parametrize(
    "text",
    [
        repeating(),
        "the " * 200,
        "番茄需要水。" * 20,
        "ha" * 60,
        "Tomatoes crack when rain follows drought. " + "And so it goes on and on, " * 8,
        "\n".join(f"{number}. How do tomatoes grow?" for number in range(1, 9)),
        "x" * 9000,
    ],
)
def test_a_phrase_on_end_is_no_reply(text: str) -> None:
    assert repeats_itself(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No, no, no, no!",
        "Because the skin of a tomato grows more slowly than its flesh takes up water after a "
        "drought. Water a little every day, and mulch the soil.",
        "Why do tomatoes crack?\nWhy do peppers drop their flowers?\nWhen is garlic planted?\n"
        "How deep are beans sown?\nWhat does a leek need?\nWhich herbs bear shade?",
        "番茄在久旱之后遇到大雨时，果肉吸水的速度比果皮生长的速度快，因此果皮会裂开。每天少量浇水，"
        "并覆盖土壤，可以防止这种情况发生。",
        "| month | work |\n| --- | --- |\n| March | sow peppers |\n| April | plant potatoes |",
    ],
)
def test_what_people_write_is_left_alone(text: str) -> None:
    assert not repeats_itself(text)
