"""The teacher's answers, under the role that it plays."""

from collections.abc import Sequence

from api_schemas.corpora import AnswerWriting
from api_schemas.errors import LanguageModelFailed
from workers.corpora import requests
from workers.corpora.paragraphs import Paragraph
from workers.corpora.questions import Question, Telling
from workers.corpora.replies import answer_in
from workers.language_models.chat import LanguageModel


def write_answers(
    questions: Sequence[Question],
    paragraphs: Sequence[Paragraph],
    teacher: LanguageModel,
    prompt: str,
    settings: AnswerWriting,
    telling: Telling,
) -> list[str | None]:
    """An answer to each question, or None where the reply is none, which a warning tells.

    A question of a paragraph is answered with the paragraph at hand, any other without. Raises
    LanguageModelFailed if no question is answered, and what the teacher raises.
    """
    asked = [
        requests.answer(prompt, each.text, _paragraph_of(each, paragraphs), settings)
        for each in questions
    ]
    replies = teacher.complete(
        asked, lambda done: telling.progress(done, len(asked), "questions answered")
    )
    found = [
        answer_in(reply, question.text) for question, reply in zip(questions, replies, strict=True)
    ]
    _tell_of_missing(questions, found, settings.max_tokens, telling)
    return found


def _paragraph_of(question: Question, paragraphs: Sequence[Paragraph]) -> Paragraph | None:
    return None if question.paragraph is None else paragraphs[question.paragraph]


def _tell_of_missing(
    questions: Sequence[Question], found: Sequence[str | None], max_tokens: int, telling: Telling
) -> None:
    missing = [question for question, text in zip(questions, found, strict=True) if text is None]
    if not missing:
        return
    why = (
        f"empty, not whole after {max_tokens} tokens (answers.max_tokens), the question itself, or "
        "the same over and over"
    )
    if len(missing) == len(questions):
        raise LanguageModelFailed(
            f"none of {len(questions)} questions was answered: every reply is {why}",
            code="no_answers",
            param="teacher",
        )
    telling.warn(
        f"{len(missing)} of {len(questions)} questions are left out, for their answers are {why}; "
        f"the first is {missing[0].text!r}"
    )
