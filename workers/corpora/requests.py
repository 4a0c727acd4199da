"""What language models are asked, in words."""

from collections.abc import Sequence

from api_schemas.corpora import AnswerWriting, JudgedAnswer, QuestionWriting
from workers.corpora.paragraphs import Paragraph
from workers.language_models.chat import ChatRequest, Message

_LEARNER = "You write down the questions that learners of a subject ask."
_STAND_ALONE = (
    "Whoever reads a question sees nothing else, so each must name what it is about. Write one "
    "question a line, numbered, in the language of the {what}, and nothing else."
)
_WITH_TEXT = (
    "A text comes with the question. Use what of it helps, and what else you know, but don't speak "
    "of it: the student does not see it."
)
_PROMPT_WRITER = "You write instructions for a language model that answers learners' questions."
_MARKS = "Write the new instructions between <prompt> and </prompt>, and nothing else."
_PROMPT_TOKENS, _PROMPT_TEMPERATURE = 512, 1.0
"""Samples of one request must differ: at a lower temperature more of them would be the same."""


_QUESTION_BYTES, _ANSWER_BYTES, _REASONS_BYTES = 400, 800, 400
"""Of a judged answer, as it is shown: in all 400 + 2·800 + 4·400 = 3600 bytes of UTF-8. Where a
token has three bytes or more (in English about four, in Chinese a sign has three), five take 6000
tokens at most, which leaves 2192 of a context of 8192 for the prompt, labels, and the new one."""
_SHOWN_ANSWER_BYTES = 2400
"""Of people's answer to one of the three questions before the first candidates: 800 tokens."""


def questions_of_paragraph(
    paragraph: Paragraph,
    seeds: Sequence[str],
    generated: Sequence[str],
    settings: QuestionWriting,
) -> ChatRequest:
    """`seeds` are examples of style, `generated` questions of this corpus by now."""
    return _to_write_questions(
        settings,
        f"A learner reads this part of a textbook:\n\n{_shown(paragraph)}",
        _examples("Questions of other subjects, as examples of style", seeds),
        _examples("Questions that are there already, not to be repeated", generated),
        f"Write {settings.per_paragraph} different questions that the learner may ask. Some of "
        "them must go beyond what the text says: to reasons, comparisons, uses or exceptions that "
        f"it leaves out. {_STAND_ALONE.format(what='text')}",
    )


def more_questions(
    content: Sequence[str], seeds: Sequence[str], settings: QuestionWriting
) -> ChatRequest:
    """`content` are questions of the round before, `seeds` examples of style."""
    return _to_write_questions(
        settings,
        _examples("Questions that learners of a subject asked", content),
        _examples("Questions of other subjects, as examples of style", seeds),
        f"Write {settings.per_paragraph} new questions of the same subject, of which none is asked "
        f"above yet. {_STAND_ALONE.format(what='questions of the subject')}",
    )


def answer(
    prompt: str, question: str, context: Paragraph | None, how: AnswerWriting
) -> ChatRequest:
    """Under the role `prompt`; with the paragraph that the question is of, if there is one."""
    if context is not None:
        prompt = f"{prompt}\n\n{_WITH_TEXT}"
        question = f"{_shown(context)}\n\nQuestion: {question}"
    return ChatRequest(_chat(prompt, question), how.max_tokens, how.temperature)


def first_prompts(announced: str, pairs: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
    """For a candidate of the start, after instructions and (question, human answer) pairs."""
    shown = "\n\n".join(
        f"Question: {_clipped(question, _QUESTION_BYTES)}\n"
        f"Answer: {_clipped(reply, _SHOWN_ANSWER_BYTES)}"
        for question, reply in pairs
    )
    return _chat(
        _PROMPT_WRITER,
        f"These are the instructions so far:\n\n{announced}\n\nPeople have answered questions like "
        f"this:\n\n{shown}\n\nWrite other instructions, with a role for the model to play, under "
        f"which it would answer as correctly, clearly and briefly as these people. {_MARKS}",
    )


def reflection(prompt: str, score: float, feedback: Sequence[JudgedAnswer]) -> tuple[Message, ...]:
    """For a better prompt after what a judge said of answers under this one."""
    shown = "\n\n".join(map(_judged, feedback))
    return _chat(
        _PROMPT_WRITER,
        f"These instructions have a score of {score:.2f}; the best possible is 10:\n\n{prompt}\n\n"
        f"A judge compared answers under them with people's:\n\n{shown}\n\nFind what the "
        f"instructions lack that led to this, and improve them. {_MARKS}",
    )


def resampling(scored: Sequence[tuple[str, float]]) -> tuple[Message, ...]:
    """For a prompt after (prompt, score) pairs, which are shown from the lowest to the highest."""
    ascending = sorted(scored, key=lambda pair: pair[1])
    shown = "\n\n".join(
        f"Instructions:\n{prompt}\nScore: {score:.2f}" for prompt, score in ascending
    )
    return _chat(
        _PROMPT_WRITER,
        f"These instructions are sorted by their scores, the best last:\n\n{shown}\n\nWrite new "
        f"instructions, different from all of these, that would have a higher score. {_MARKS}",
    )


def new_prompt(messages: tuple[Message, ...], sample: int) -> ChatRequest:
    return ChatRequest(messages, _PROMPT_TOKENS, _PROMPT_TEMPERATURE, sample=sample)


def _to_write_questions(settings: QuestionWriting, *parts: str) -> ChatRequest:
    messages = _chat(_LEARNER, "\n\n".join(filter(None, parts)))
    return ChatRequest(messages, settings.max_tokens, settings.temperature)


def _chat(system: str, user: str) -> tuple[Message, ...]:
    return Message("system", system), Message("user", user)


def _shown(paragraph: Paragraph) -> str:
    heading = f"Section: {paragraph.heading}\n\n" if paragraph.heading else ""
    return f"{heading}{paragraph.text}"


def _examples(title: str, questions: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"- {each}" for each in questions)]) if questions else ""


def _judged(item: JudgedAnswer) -> str:
    reasons = "\n".join(
        f"{each.criterion.replace('_', ' ')}: {each.score} of 10. "
        f"{_clipped(each.reasons, _REASONS_BYTES)}"
        for each in item.criteria
    )
    return (
        f"Question: {_clipped(item.question, _QUESTION_BYTES)}\n"
        f"People's answer: {_clipped(item.reference, _ANSWER_BYTES)}\n"
        f"Answer: {_clipped(item.answer, _ANSWER_BYTES)}\n"
        f"{reasons}\nLength penalty: {item.length_penalty:.2f}\nScore: {item.score:.2f}"
    )


def _clipped(text: str, most: int) -> str:
    """The first `most` bytes of the text in UTF-8, with a mark where more follow."""
    data = text.encode()
    return text if len(data) <= most else data[:most].decode(errors="ignore") + " […]"
