"""Stage 3 of a corpus: the teacher's answers, as lines to train on and lines held out."""

from collections.abc import Sequence

from api_schemas.corpora import CorpusLine, CorpusResult
from api_schemas.errors import LanguageModelFailed
from api_schemas.jobs import CorpusJobInput
from workers.artifacts import canonical_json
from workers.corpora.answers import write_answers
from workers.corpora.written import OptimizedPrompt, StoredQuestion, WrittenQuestions
from workers.stages.context import StageContext, TaskContext
from workers.stages.corpus_calls import CorpusCalls, uses_model


def run(context: StageContext[CorpusJobInput]) -> str:
    """Leaves `CorpusResult`. Raises LanguageModelFailed if no line is left to train on, and
    BudgetExhausted."""
    inputs = context.inputs["write_questions"], context.inputs["optimize_prompt"]
    (digest,) = context.runner.map(
        _answer, [inputs], uses_model=uses_model(context.job, [context.job.settings.teacher])
    )
    return digest


def _answer(context: TaskContext[CorpusJobInput], inputs: tuple[str, str]) -> str:
    questions, prompt = map(context.artifacts.get, inputs)
    written = WrittenQuestions.model_validate_json(questions)
    optimized = OptimizedPrompt.model_validate_json(prompt)
    settings = context.job.settings
    calls = CorpusCalls(context, "write_answers")
    answers = write_answers(
        written.plain_questions(),
        written.plain_paragraphs(),
        calls.open(settings.teacher),
        optimized.prompt,
        settings.answers,
        calls.telling,
    )
    train, held_out = _lines(written, answers)
    _require_lines(context, train, held_out)
    calls.conclude(f"{len(train)} lines to train on, {len(held_out)} held out")
    result = CorpusResult(
        documents=written.documents,
        question_rounds=written.rounds,
        lines=len(train),
        holdout_lines=len(held_out),
        lines_sha256=context.artifacts.put(_jsonl(train)),
        holdout_sha256=context.artifacts.put(_jsonl(held_out)),
        calls_sha256=context.artifacts.put(calls.calls.to_jsonl()),
        prompt=optimized.prompt,
        optimization=optimized.history,
        plot_sha256=optimized.plot,
        spent=calls.spent,
    )
    return context.artifacts.put_json(result.model_dump(mode="json"))


def _lines(
    written: WrittenQuestions, answers: Sequence[str | None]
) -> tuple[list[CorpusLine], list[CorpusLine]]:
    """(to train on, held out), in the order of the questions, without those that have no answer."""
    train: list[CorpusLine] = []
    held_out: list[CorpusLine] = []
    for question, answer in zip(written.questions, answers, strict=True):
        if answer is not None:
            chosen = held_out if _is_held_out(written, question) else train
            chosen.append(_line(written, question, answer))
    return train, held_out


def _is_held_out(written: WrittenQuestions, question: StoredQuestion) -> bool:
    return question.paragraph is not None and written.paragraphs[question.paragraph].held_out


def _line(written: WrittenQuestions, question: StoredQuestion, answer: str) -> CorpusLine:
    document = None
    if question.paragraph is not None:
        place = written.paragraphs[question.paragraph].document
        document = written.documents[place].file_id
    return CorpusLine(
        question=question.question,
        answer=answer,
        document=document,
        paragraph=question.paragraph,
        round=question.round,
    )


def _require_lines(
    context: TaskContext[CorpusJobInput],
    train: Sequence[CorpusLine],
    held_out: Sequence[CorpusLine],
) -> None:
    if not train:
        raise LanguageModelFailed(
            f"only the {len(held_out)} questions that are held out were answered: nothing is left "
            "to train on",
            code="no_answers",
            param="teacher",
        )
    if not held_out:
        context.warn(
            "no question of a paragraph that is held out was answered: nothing is held out"
        )


def _jsonl(lines: Sequence[CorpusLine]) -> bytes:
    return b"".join(canonical_json(line.model_dump(mode="json")) + b"\n" for line in lines)
