"""The table of an evaluation: a row a model, whose figures are over the same questions.

comprehensive = judge_score − length_penalty

judge_score     mean over questions of the mean of the criteria's scores, from 1 to 10
length_penalty  mean over questions of α·max(0, len/len_ref − 1), lengths in characters
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from api_schemas.corpora import CriterionScore
from api_schemas.evaluations import EvaluatedRow
from api_schemas.jobs import EvaluatedInput
from workers.evaluation.metrics import length_penalty, overlap
from workers.evaluation.tokenization import Resolved
from workers.question_answers import QuestionAnswer


@dataclass(frozen=True)
class Answered:
    """One model's answers, in the order of the questions. `judged` is None without a judge, else
    it has each answer's scores by criterion."""

    model: EvaluatedInput
    answers: Sequence[str]
    judged: Sequence[Sequence[CriterionScore]] | None


def drawn(lines: Sequence[QuestionAnswer], most: int, seed: int) -> list[QuestionAnswer]:
    """All of the lines, or `most` of them, in their order."""
    if len(lines) <= most:
        return list(lines)
    places = random.Random(seed).sample(range(len(lines)), most)
    return [lines[place] for place in sorted(places)]


def row(
    answered: Answered, lines: Sequence[QuestionAnswer], how: Resolved, alpha: float
) -> EvaluatedRow:
    references = [each.answer for each in lines]
    penalty = fmean(penalties(answered, lines, alpha))
    score = None
    if answered.judged is not None:
        score = fmean(fmean(each.score for each in criteria) for criteria in answered.judged)
    return EvaluatedRow(
        model=answered.model.model,
        revision=answered.model.revision,
        **asdict(overlap(references, answered.answers, how)),
        judge_score=score,
        length_penalty=penalty,
        comprehensive=None if score is None else score - penalty,
        mean_characters=fmean(map(len, answered.answers)),
    )


def penalties(answered: Answered, lines: Sequence[QuestionAnswer], alpha: float) -> list[float]:
    """The length penalty of each answer."""
    pairs = zip(answered.answers, lines, strict=True)
    return [length_penalty(alpha, answer, line.answer) for answer, line in pairs]


def answer_lines(
    table: Sequence[Answered], lines: Sequence[QuestionAnswer], alpha: float
) -> list[dict[str, Any]]:
    """A line a question: its reference, and the models' answers with what the judge said."""
    costs = [penalties(answered, lines, alpha) for answered in table]
    return [
        {
            "question": line.question,
            "reference": line.answer,
            "answers": [
                {
                    "model": answered.model.model.model_dump(),
                    "answer": answered.answers[place],
                    "criteria": _criteria(answered, place),
                    "length_penalty": cost[place],
                }
                for answered, cost in zip(table, costs, strict=True)
            ],
        }
        for place, line in enumerate(lines)
    ]


def _criteria(answered: Answered, place: int) -> list[dict[str, Any]] | None:
    if answered.judged is None:
        return None
    return [each.model_dump() for each in answered.judged[place]]
