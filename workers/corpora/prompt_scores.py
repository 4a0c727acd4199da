"""How good a prompt is, which prompts survive, and which answers it is told to do better.

Numbers in, numbers out. After CourseGPT-zh (Qu et al. 2024, arXiv 2405.04781), whose score this is.
"""

from collections.abc import Sequence
from statistics import fmean

from api_schemas.corpora import CriterionScore, JudgedAnswer, PromptCandidate


def judge_score(criteria: Sequence[CriterionScore]) -> float:
    """s_judge = Σ scores / number of criteria, from 1 to 10."""
    if not criteria:
        raise ValueError("an answer without a criterion has no score")
    return fmean(each.score for each in criteria)


def length_penalty(answer: str, reference: str, alpha: float) -> float:
    """α·max(0, len/len_ref − 1), in points of the judge; lengths are in characters.

    An answer as long as the reference, or shorter, costs nothing; one of twice its length costs α.
    """
    if not reference:
        raise ValueError("the reference answer is empty")
    return alpha * max(0.0, len(answer) / len(reference) - 1)


def judged_answer(
    question: str, reference: str, answer: str, criteria: Sequence[CriterionScore], alpha: float
) -> JudgedAnswer:
    """s = s_judge − α·max(0, len/len_ref − 1); may be negative for a very long answer."""
    judge, penalty = judge_score(criteria), length_penalty(answer, reference, alpha)
    return JudgedAnswer(
        question=question,
        reference=reference,
        answer=answer,
        criteria=list(criteria),
        judge_score=judge,
        length_penalty=penalty,
        score=judge - penalty,
    )


def prompt_score(judged: Sequence[JudgedAnswer]) -> float:
    """The mean of the answers' scores."""
    if not judged:
        raise ValueError("a prompt without an answer has no score")
    return fmean(each.score for each in judged)


def survivors(candidates: Sequence[PromptCandidate], count: int) -> list[PromptCandidate]:
    """The `count` with the highest scores, best first; of equal ones the earlier."""
    return sorted(candidates, key=lambda each: (-each.score, each.index))[:count]


def best(candidates: Sequence[PromptCandidate]) -> PromptCandidate:
    return survivors(candidates, 1)[0]


def feedback(judged: Sequence[JudgedAnswer], count: int) -> list[JudgedAnswer]:
    """The `count` answers with the lowest scores, worst first; of equal ones the earlier."""
    return sorted(judged, key=lambda each: each.score)[:count]
