"""A corpus from its documents to its lines: resumed, replayed, cut short, and badly served."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from corpus_support import (
    DOCUMENT,
    OfflineCorpus,
    is_about_questions,
    new_questions,
    textbook_writer,
)
from pdf_support import PICTURE, pdf
from scripted_endpoint import (
    Answer,
    Asked,
    ScriptedEndpoint,
    garbage,
    hang,
    repeating,
    scripted_endpoint,
)

from api_schemas.corpora import ROLE_PROMPT, CorpusLine, CorpusResult, PromptHistory
from api_schemas.errors import BudgetExhausted, InvalidInput, LanguageModelFailed
from api_schemas.jobs import ProgressEvent, stages_of
from api_schemas.language_models import LocalModel
from workers.corpora.paragraphs import Paragraph
from workers.corpora.written import OptimizedPrompt, WrittenQuestions
from workers.stages.corpus_calls import uses_model

PAIRS = [("Why do tomatoes crack?", "Rain swells them.")]
OPTIMIZATION = {
    "pairs_file_id": "file_" + "b" * 26,
    "judge": {"type": "endpoint", "endpoint": "scripted", "model": "scripted-model"},
    "candidates": 2,
    "survivors": 1,
    "iterations": 1,
}


@dataclass(frozen=True)
class Whole:
    """A corpus with everything, which nothing interrupted; its endpoint is gone."""

    corpus: OfflineCorpus
    folder: Path
    endpoint: ScriptedEndpoint
    result: CorpusResult
    train: list[CorpusLine]
    held_out: list[CorpusLine]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    with scripted_endpoint(textbook_writer) as endpoint:
        corpus = OfflineCorpus(folder, endpoint, pairs=PAIRS, prompt_optimization=OPTIMIZATION)
        corpus.run()
    result = corpus.result()
    train, held_out = map(corpus.lines, (result.lines_sha256, result.holdout_sha256))
    return Whole(corpus, folder, endpoint, result, train, held_out)


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with scripted_endpoint(textbook_writer) as made:
        yield made


def test_the_result_counts_what_was_read_written_and_kept(whole: Whole) -> None:
    (document,) = whole.result.documents
    assert (document.filename, document.characters) == ("book.md", len(DOCUMENT))
    assert document.paragraphs == 4
    # 4 paragraphs with 3 questions; 30 % of 4 is 1 held out, so 3·3 = 9 lead on: 8 and 1 of them.
    rounds = [(each.round, each.asked, each.kept) for each in whole.result.question_rounds]
    assert rounds == [(0, 4, 12), (1, 2, 6)]
    assert (whole.result.lines, whole.result.holdout_lines) == (9 + 6, 3)
    assert (len(whole.train), len(whole.held_out)) == (15, 3)
    assert whole.result.spent.calls == len(whole.endpoint.asked)
    assert whole.result.spent.replayed == 0


def test_lines_name_their_document_paragraph_and_round(whole: Whole) -> None:
    first = [line for line in whole.train if line.round == 0]
    assert {line.document for line in first} == {f"file_{0:026d}"}
    later = [line for line in whole.train if line.round == 1]
    assert {(line.document, line.paragraph) for line in later} == {(None, None)}
    assert all(line.answer.startswith("Because of ") for line in whole.train + whole.held_out)


def test_a_held_out_paragraphs_questions_are_never_trained_on_nor_led_on_from(
    whole: Whole,
) -> None:
    trained = {line.paragraph for line in whole.train} - {None}
    held_out = {line.paragraph for line in whole.held_out}
    assert (len(trained), len(held_out)) == (3, 1)
    assert not trained & held_out
    for asked in filter(is_about_questions, whole.endpoint.asked):
        assert not [line for line in whole.held_out if line.question in asked.text]


def test_answers_are_written_under_the_best_prompt_with_the_paragraph_at_hand(
    whole: Whole,
) -> None:
    assert whole.result.optimization is not None
    stored = whole.corpus.artifacts.get(whole.result.optimization)
    history = PromptHistory.model_validate_json(stored)
    # One announced, two to start with, then a reflection and a resampling of the best.
    assert [each.origin for each in history.candidates] == [
        *("announced", "initial", "initial", "reflection", "resampling")
    ]
    assert whole.result.prompt == history.candidates[history.best].prompt
    assert history.candidates[history.best].score == max(c.score for c in history.candidates)
    asked = {each.last: each.messages[0]["content"] for each in whole.endpoint.asked}
    for line in whole.train + whole.held_out:
        (message,) = [each for each in asked if each.endswith(line.question)]
        assert asked[message].startswith(whole.result.prompt)
        assert ("needs." in message) == (line.paragraph is not None)
    assert whole.result.plot_sha256 is not None
    assert b"<svg" in whole.corpus.artifacts.get(whole.result.plot_sha256)


def test_a_replay_is_the_same_to_the_bit_with_the_endpoint_gone(whole: Whole) -> None:
    asked = len(whole.endpoint.asked)
    again = OfflineCorpus(
        whole.folder,
        whole.endpoint,
        pairs=PAIRS,
        prompt_optimization=OPTIMIZATION,
        replay=whole.result.calls_sha256,
        corpus_id="corp_" + "b" * 26,
    )
    again.endpoints = ()
    again.run()
    found = again.result()
    without_spent = {"spent"}
    assert found.model_dump(exclude=without_spent) == whole.result.model_dump(exclude=without_spent)
    assert (found.spent.calls, found.spent.cost_micro_units) == (0, 0)
    assert found.spent.replayed > 0
    assert len(whole.endpoint.asked) == asked


def test_a_replay_with_other_settings_says_that_a_call_is_not_recorded(whole: Whole) -> None:
    again = OfflineCorpus(whole.folder, whole.endpoint, replay=whole.result.calls_sha256, seed=5)
    with pytest.raises(LanguageModelFailed) as caught:
        again.run()
    assert caught.value.code == "not_recorded"


@pytest.mark.parametrize(
    ("stage", "tokens"),
    [("write_questions", 2200), ("optimize_prompt", 2200), ("write_answers", 1500)],
)
def test_a_budget_that_runs_out_stops_and_a_larger_one_buys_only_what_is_missing(
    tmp_path: Path, whole: Whole, endpoint: ScriptedEndpoint, stage: str, tokens: int
) -> None:
    settings = {"pairs": PAIRS, "prompt_optimization": OPTIMIZATION}

    def corpus(limit: int) -> OfflineCorpus:
        return OfflineCorpus(tmp_path, endpoint, **settings, budget={"max_tokens": limit})

    large = corpus(10**9)
    for each in itertools.takewhile(lambda name: name != stage, stages_of("corpus")):
        large.run(each)
    spent_before = len(endpoint.asked)
    small = corpus(_tokens(large) + tokens)
    small.digests = dict(large.digests)
    with pytest.raises(BudgetExhausted) as caught:
        small.run(stage)
    assert caught.value.param == "budget.max_tokens"
    bought = len(endpoint.asked)
    assert spent_before < bought < len(whole.endpoint.asked)
    resumed = corpus(10**9)
    resumed.run()
    assert len(endpoint.asked) == len(whole.endpoint.asked)
    found = resumed.result()
    assert found.spent.model_copy(update={"replayed": 0}) == whole.result.spent
    assert found.model_dump(exclude={"spent"}) == whole.result.model_dump(exclude={"spent"})


def _tokens(corpus: OfflineCorpus) -> int:
    spent = [event.data["spent"] for event in corpus.events if "spent" in event.data]
    return spent[-1]["prompt_tokens"] + spent[-1]["completion_tokens"] if spent else 0


@pytest.mark.parametrize("fault", [hang, garbage])
def test_an_endpoint_that_fails_fails_the_stage_which_goes_on_later(
    tmp_path: Path, endpoint: ScriptedEndpoint, fault: Callable[[], Any]
) -> None:
    corpus = OfflineCorpus(tmp_path, endpoint, access={"timeout_seconds": 0.3, "attempts": 1})
    corpus.run("write_questions", "optimize_prompt")
    asked = len(endpoint.asked)
    endpoint.faults.append(fault())
    with pytest.raises(LanguageModelFailed, match="scripted"):
        corpus.run("write_answers")
    corpus.run("write_answers")
    # 18 questions, and the one that got no answer once more.
    assert len(endpoint.asked) == asked + 18 + 1
    assert corpus.result().lines + corpus.result().holdout_lines == 18


def answering(teach: Callable[[Asked], str | Answer]) -> Callable[[Asked], str | Answer]:
    return lambda asked: new_questions(asked) if is_about_questions(asked) else teach(asked)


def test_answers_that_are_none_are_left_out_and_told(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    bad = iter(["", " \n", Answer("It is beca", finish_reason="length"), repeating()])
    endpoint.script = answering(lambda asked: next(bad, f"Because of {asked.last[-20:]}"))
    corpus = OfflineCorpus(tmp_path, endpoint)
    corpus.run()
    result = corpus.result()
    assert result.lines + result.holdout_lines == 18 - 4
    (warning,) = corpus.warnings()
    assert warning.startswith("4 of 18 questions are left out")
    assert "answers.max_tokens" in warning


def test_a_teacher_without_any_answer_fails_the_corpus(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    endpoint.script = answering(lambda _: repeating())
    with pytest.raises(LanguageModelFailed) as caught:
        OfflineCorpus(tmp_path, endpoint).run()
    assert caught.value.code == "no_answers"
    assert "none of 18 questions was answered" in caught.value.message


def test_without_optimisation_the_announced_prompt_is_taken(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    corpus = OfflineCorpus(tmp_path, endpoint)
    corpus.run("optimize_prompt")
    stored = corpus.artifacts.get(corpus.digests["optimize_prompt"])
    found = OptimizedPrompt.model_validate_json(stored)
    assert found == OptimizedPrompt(prompt=ROLE_PROMPT, history=None, plot=None)
    assert "no optimisation was asked for" in corpus.events[0].message
    assert endpoint.asked == []


def test_a_document_that_can_not_be_read_costs_nothing(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    documents = [("book.md", DOCUMENT.encode()), ("scan.pdf", pdf(PICTURE))]
    with pytest.raises(InvalidInput, match=r"'scan.pdf'.*page 1 holds pictures.*OCR"):
        OfflineCorpus(tmp_path, endpoint, documents=documents).run()
    assert endpoint.asked == []


def test_paragraphs_count_over_all_documents_and_scanned_pages_are_told(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    pages = pdf(["Leeks want depth."], PICTURE, ["And time."])
    documents = [("book.md", DOCUMENT.encode()), ("leeks.pdf", pages)]
    corpus = OfflineCorpus(tmp_path, endpoint, documents=documents)
    corpus.run("write_questions")
    stored = corpus.artifacts.get(corpus.digests["write_questions"])
    found = WrittenQuestions.model_validate_json(stored)
    assert [each.document for each in found.paragraphs] == [0] * 4 + [1, 1]
    assert found.plain_paragraphs()[4:] == [
        Paragraph("", "Leeks want depth."),
        Paragraph("", "And time."),
    ]
    (warning,) = corpus.warnings()
    assert "'leeks.pdf': 1 of its pages are pictures without text and are left out (2)" in warning


def test_what_is_held_out_of_one_document_is_not_trained_on_by_its_copy(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    copy = DOCUMENT.replace(" and what", "\nand  what").encode()
    documents = [("book.md", DOCUMENT.encode()), ("copy.md", copy)]
    corpus = OfflineCorpus(tmp_path, endpoint, documents=documents)
    corpus.run("write_questions")
    stored = corpus.artifacts.get(corpus.digests["write_questions"])
    fates = [each.held_out for each in WrittenQuestions.model_validate_json(stored).paragraphs]
    assert fates[:4] == fates[4:]
    assert fates.count(True) == 2


def test_one_paragraph_leaves_nothing_to_hold_out_and_this_is_told(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    corpus = OfflineCorpus(tmp_path, endpoint, documents=[("a.txt", b"Tomatoes want sun.")])
    corpus.run()
    assert corpus.result().holdout_lines == 0
    assert corpus.artifacts.get(corpus.result().holdout_sha256) == b""
    assert "nothing is held out" in corpus.warnings()[0]


def test_progress_is_told_in_words_with_what_is_spent(whole: Whole) -> None:
    def last(stage: str) -> ProgressEvent:
        return [each for each in whole.corpus.events if each.data.get("stage") == stage][-1]

    assert last("write_questions").message == (
        "write_questions: 18 questions of 4 paragraphs (held out: 1)"
    )
    assert "5 of 5 prompts scored; the best of them" in last("optimize_prompt").message
    assert last("write_answers").message == ("write_answers: 15 lines to train on, 3 held out")
    assert last("write_answers").data["spent"] == whole.result.spent.model_dump(mode="json")


def test_only_local_models_that_are_asked_take_a_models_room(whole: Whole) -> None:
    local = LocalModel(type="local", base_model="tiny-enumerable")
    endpoint = whole.corpus.job.settings.teacher
    assert not uses_model(whole.corpus.job, [endpoint])
    assert uses_model(whole.corpus.job, [endpoint, local])
    replay = whole.corpus.job.model_copy(update={"replay_calls": whole.result.calls_sha256})
    assert not uses_model(replay, [local])
