"""Prompt optimisation: scores, selection, reflection and resampling against hand-worked figures."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from corpus_support import Told, opened
from scripted_endpoint import Answer, Asked, ScriptedEndpoint, scripted_endpoint

from api_schemas.corpora import (
    AnswerWriting,
    CriterionScore,
    JudgedAnswer,
    PromptCandidate,
    PromptHistory,
    PromptOptimization,
)
from workers.corpora import requests
from workers.corpora.prompt_optimization import PromptOptimizer
from workers.corpora.prompt_scores import (
    best,
    feedback,
    judge_score,
    judged_answer,
    length_penalty,
    prompt_score,
    survivors,
)
from workers.judging.criteria import judge_answers

CRITERIA = ("factual_accuracy", "user_satisfaction", "clarity", "condensability")
PAIRS = [("Why do tomatoes crack?", "Rain swells them."), ("When is basil sown?", "In warm May. ")]
ANNOUNCED = "You are level 4."


def criteria(*scores: int) -> list[CriterionScore]:
    return [
        CriterionScore(criterion=name, reasons=f"It is {name}.", score=score)
        for name, score in zip(CRITERIA, scores, strict=True)
    ]


def judged(score: float, question: str = "Q") -> JudgedAnswer:
    return JudgedAnswer(
        question=question,
        reference="R",
        answer="A",
        criteria=criteria(5, 5, 5, 5),
        judge_score=score,
        length_penalty=0.0,
        score=score,
    )


def candidate(index: int, score: float) -> PromptCandidate:
    return PromptCandidate(
        index=index,
        iteration=0,
        origin="initial",
        parent=None,
        prompt=f"prompt {index}",
        score=score,
        judged=[judged(score)],
    )


def test_the_score_is_the_criterias_mean_less_the_penalty_for_length() -> None:
    # s_judge = (8 + 6 + 7 + 9)/4 = 7.5; len/len_ref = 25/10, so the penalty is 0.5·1.5 = 0.75.
    found = judged_answer("Q", "r" * 10, "a" * 25, criteria(8, 6, 7, 9), alpha=0.5)
    assert (found.judge_score, found.length_penalty, found.score) == (7.5, 0.75, 6.75)
    assert judge_score(criteria(1, 1, 1, 10)) == 3.25
    # The mean of 6.75 and of an answer with 3.25 and no penalty.
    short = judged_answer("Q", "r" * 10, "a", criteria(1, 1, 1, 10), alpha=0.5)
    assert prompt_score([found, short]) == 5.0


def test_an_answer_as_long_as_the_reference_or_shorter_pays_nothing() -> None:
    assert length_penalty("a" * 10, "r" * 10, 0.5) == 0
    assert length_penalty("", "r" * 10, 0.5) == 0
    assert length_penalty("a" * 20, "r" * 10, 0.5) == 0.5
    assert length_penalty("番茄裂开", "番茄", 2.0) == 2.0


def test_what_has_no_score_is_refused() -> None:
    for nothing in (lambda: judge_score([]), lambda: prompt_score([])):
        with pytest.raises(ValueError, match="no score"):
            nothing()
    with pytest.raises(ValueError, match="reference answer is empty"):
        length_penalty("a", "", 0.5)


def test_the_best_survive_and_of_equal_ones_the_earlier() -> None:
    scores = [3.0, 7.0, 5.0, 7.0, 5.0]
    everyone = [candidate(index, score) for index, score in enumerate(scores)]
    assert [each.index for each in survivors(everyone, 3)] == [1, 3, 2]
    assert [each.index for each in survivors(list(reversed(everyone)), 3)] == [1, 3, 2]
    assert [each.index for each in survivors(everyone, 9)] == [1, 3, 2, 4, 0]
    assert best(everyone).index == 1


def test_feedback_is_the_worst_answers_first() -> None:
    answers = [judged(5, "a"), judged(2, "b"), judged(9, "c"), judged(2, "d")]
    assert [each.question for each in feedback(answers, 3)] == ["b", "d", "a"]


class Classroom:
    """An endpoint whose teacher answers as its prompt's level says, and whose judge reads it.

    `prompts` are what the writer writes, one a request, in their order; `sent` its requests.
    """

    def __init__(self, *prompts: str | Answer):
        self.prompts, self.sent = iter(prompts), list[Asked]()

    def __call__(self, asked: Asked) -> str | Answer:
        if "instructions for a language model" in asked.messages[0]["content"]:
            self.sent.append(asked)
            return next(self.prompts)
        if "Criterion." in asked.last:
            level = re.findall(r"level (\d+)", asked.last)[-1]
            return f"An answer of level {level}.\nScore: {level}"
        return re.findall(r"level \d+", asked.messages[0]["content"])[0]


@pytest.fixture
def room() -> Iterator[ScriptedEndpoint]:
    with scripted_endpoint() as endpoint:
        yield endpoint


def optimize(
    folder: Path,
    room: ScriptedEndpoint,
    classroom: Classroom,
    told: Told | None = None,
    pairs: int = 1,
    **settings: Any,
) -> PromptHistory:
    room.script = classroom
    model = opened(folder, room, concurrency=1)
    asked = {
        "pairs_file_id": "file_" + "a" * 26,
        "judge": {"type": "local", "base_model": "x"},
        "candidates": 2,
        "survivors": 2,
        "iterations": 1,
        **settings,
    }
    return PromptOptimizer(
        teacher=model,
        writer=model,
        judge=lambda items: judge_answers(model, items, max_tokens=50),
        pairs=PAIRS[:pairs],
        answers=AnswerWriting(prompt=ANNOUNCED),
        settings=PromptOptimization.model_validate(asked),
        telling=(told or Told()).telling,
    ).optimize()


def level(number: int, words: str = "You are") -> str:
    return f"<prompt>{words} level {number}.</prompt>"


LEVELS_OF_ANOTHER = [level(1, "I am"), level(2, "I am")]


@dataclass(frozen=True)
class Run:
    """One optimisation that several tests look at."""

    history: PromptHistory
    sent: list[str]
    seeds: list[int | None]
    told: Told


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    classroom, told = Classroom(*map(level, (3, 6, 7, 2, 8, 5))), Told()
    with scripted_endpoint() as room:
        folder = tmp_path_factory.mktemp("run")
        history = optimize(folder, room, classroom, told, pairs=2, feedback_examples=1)
    seeds = [each.body.get("seed") for each in classroom.sent]
    return Run(history, [each.last for each in classroom.sent], seeds, told)


def test_every_candidate_is_scored_and_the_best_are_reflected_on_and_resampled(run: Run) -> None:
    history = run.history
    found = [(c.iteration, c.origin, c.parent, c.prompt, c.score) for c in history.candidates]
    # The answer "level 6" has 7 characters, the references 17 and 13: no penalty. Of 4, 3 and 6
    # the two best are candidates 2 and 0, in this order: each has a reflection, then come two new.
    assert found == [
        (0, "announced", None, "You are level 4.", 4.0),
        (0, "initial", None, "You are level 3.", 3.0),
        (0, "initial", None, "You are level 6.", 6.0),
        (1, "reflection", 2, "You are level 7.", 7.0),
        (1, "reflection", 0, "You are level 2.", 2.0),
        (1, "resampling", None, "You are level 8.", 8.0),
        (1, "resampling", None, "You are level 5.", 5.0),
    ]
    assert history.best == 5
    assert [each.index for each in history.candidates] == list(range(7))
    assert all(len(each.judged) == 2 for each in history.candidates)
    reasons = {each.reasons for each in history.candidates[2].judged[1].criteria}
    assert reasons == {"An answer of level 6."}


def test_what_the_writer_is_shown(run: Run) -> None:
    initial, _, reflection, other, resampling, again = run.sent
    assert ANNOUNCED in initial
    assert "Question: Why do tomatoes crack?\nAnswer: Rain swells them." in initial
    assert "have a score of 6.00" in reflection
    assert "You are level 6." in reflection
    assert "factual accuracy: 6 of 10. An answer of level 6." in reflection
    # Both answers have the same score; one example is the first of them.
    assert "tomatoes" in reflection
    assert "basil" not in reflection
    assert "have a score of 4.00" in other
    # The survivors alone, the best last.
    ascending = "You are level 4.\nScore: 4.00\n\nInstructions:\nYou are level 6.\nScore: 6.00"
    assert ascending in resampling
    assert "level 3" not in resampling
    assert resampling == again
    assert run.seeds == [0, 1, 0, 0, 0, 1]


def test_survivors_are_of_all_so_far_and_what_is_asked_again_is_another_sample(
    tmp_path: Path, room: ScriptedEndpoint
) -> None:
    classroom = Classroom(*map(level, (9, 8, 1, 2, 3, 5, 6, 7)), *LEVELS_OF_ANOTHER)
    history = optimize(tmp_path, room, classroom, iterations=2)
    parents = [(c.iteration, c.parent) for c in history.candidates if c.origin == "reflection"]
    # Nothing in iteration 1 beats candidates 1 and 2 (9 and 8): they are asked about again.
    assert parents == [(1, 1), (1, 2), (2, 1), (2, 2)]
    first, second = classroom.sent[2:6], classroom.sent[6:10]
    assert [each.last for each in first] == [each.last for each in second]
    assert [each.body["seed"] for each in first] == [0, 0, 0, 1]
    assert [each.body["seed"] for each in second] == [1, 1, 2, 3]
    assert history.best == 1


def test_a_long_answer_costs_its_prompt_points(tmp_path: Path, room: ScriptedEndpoint) -> None:
    class Wordy(Classroom):
        def __call__(self, asked: Asked) -> str | Answer:
            found = super().__call__(asked)
            wordy = "level 9" in asked.messages[0]["content"] and asked.last == PAIRS[0][0]
            return f"{found}{'!' * 27}" if wordy else found

    history = optimize(tmp_path, room, Wordy(level(9), level(8)), pairs=2, iterations=0, alpha=3.0)
    # 34 characters where the reference has 17: 9 − 3·1 = 6; with the other answer's 9: 7.5.
    assert [each.score for each in history.candidates] == [4.0, 7.5, 8.0]
    assert history.candidates[1].judged[0].length_penalty == 3.0
    assert history.best == 2


def test_what_a_corpus_would_leave_out_scores_lowest_and_no_judge_is_asked(
    tmp_path: Path, room: ScriptedEndpoint
) -> None:
    """The judge, as it stands, would give each of these its level."""
    spoilt: dict[str, str | Answer] = {
        "level 9": Answer("level 9 and", finish_reason="length"),
        "level 8": "It is of level 8. " * 20,
        "level 7": " ",
    }

    class Spoilt(Classroom):
        def __call__(self, asked: Asked) -> str | Answer:
            found = super().__call__(asked)
            return spoilt.get(found, found) if isinstance(found, str) else found

    classroom = Spoilt(*map(level, (9, 8, 7)))
    history = optimize(
        tmp_path, room, classroom, candidates=3, survivors=3, iterations=0, alpha=0.0
    )
    assert [each.score for each in history.candidates] == [4.0, 1.0, 1.0, 1.0]
    assert history.best == 0
    said = [each.judged[0].criteria[3].reasons for each in history.candidates[1:]]
    assert said == [
        f"It counts as no answer: it {lack}."
        for lack in ("was cut short", "says the same over and over", "is empty")
    ]
    assert history.candidates[1].judged[0].answer == "level 9 and"
    assert len([asked for asked in room.asked if "Criterion." in asked.last]) == 4


@pytest.mark.parametrize("letters", ["tomato ", "番茄"])
def test_a_reflection_with_default_settings_fits_a_small_models_context(letters: str) -> None:
    """8192 tokens, of which each has three bytes or more; a default prompt has 512 at most."""
    long = letters * 20_000
    endless = [each.model_copy(update={"reasons": long}) for each in criteria(1, 1, 1, 1)]
    texts = {"question": long, "reference": long, "answer": long, "criteria": endless}
    answer = judged(1.0).model_copy(update=texts)
    defaults = PromptOptimization.model_validate(
        {"pairs_file_id": "file_" + "a" * 26, "judge": {"type": "local", "base_model": "x"}}
    )
    shown = [answer] * defaults.feedback_examples
    for messages in (
        requests.reflection("p" * 512 * 3, 1.0, shown),
        requests.first_prompts("p" * 512 * 3, [(long, long)] * 3),
    ):
        asked = requests.new_prompt(messages, 0)
        taken = sum(len(each.content.encode()) for each in messages) / 3 + asked.max_tokens
        assert taken < 8192 - 200
        assert letters.strip() in messages[1].content
    whole = requests.reflection(ANNOUNCED, 1.0, [judged(1.0)])[1].content
    assert "[…]" not in whole


def test_unreadable_and_repeated_prompts_are_asked_again_and_then_left_out(
    tmp_path: Path, room: ScriptedEndpoint
) -> None:
    told = Told()
    # Of the first two wanted: nothing, and the announced one once more. Then the second one is
    # there, and the first is a copy of it but for its case; at last, it is cut short.
    classroom = Classroom(
        "", level(4), "you ARE level 6", level(6), Answer("You are le", finish_reason="length")
    )
    history = optimize(tmp_path, room, classroom, told, iterations=0)
    assert [each.prompt for each in history.candidates] == [ANNOUNCED, "you ARE level 6"]
    assert "iteration 0 of the prompt optimisation has 1 candidates fewer" in told.warnings[0]
    assert [each.body["seed"] for each in classroom.sent] == [0, 1, 2, 3, 4]


def test_without_a_usable_candidate_the_announced_prompt_is_the_best(
    tmp_path: Path, room: ScriptedEndpoint
) -> None:
    told = Told()
    history = optimize(tmp_path, room, Classroom(*[""] * 18), told)
    assert history.best == 0
    assert len(history.candidates) == 1
    # 2 of the start, then one reflection and one resampling of the single survivor.
    assert len(told.warnings) == 2


def test_progress_tells_the_best_so_far(run: Run) -> None:
    counts = [(done, total) for done, total, _ in run.told.progress]
    assert counts == [(done, 7) for done in range(1, 8)]
    assert run.told.progress[-1][2] == "prompts scored; the best of them, 5, has 8.00 of 10"
