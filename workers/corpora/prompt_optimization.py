"""Discrete optimisation of the prompt that questions are answered under.

After CourseGPT-zh (Qu et al. 2024, arXiv 2405.04781): candidates are scored on the same questions,
which people have answered; the best go into reflection, which improves a prompt by what a judge
said of its answers, and into resampling, which writes new ones after the sorted list of prompts and
scores. Every candidate is kept with every score and its reasons.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from api_schemas.corpora import (
    AnswerWriting,
    CriterionScore,
    JudgedAnswer,
    PromptCandidate,
    PromptHistory,
    PromptOptimization,
)
from workers.corpora import requests
from workers.corpora.near_duplicates import normalised
from workers.corpora.prompt_scores import (
    best,
    feedback,
    judged_answer,
    prompt_score,
    survivors,
)
from workers.corpora.questions import Telling
from workers.corpora.replies import prompt_in, spoken, why_no_answer
from workers.judging.criteria import CRITERIA
from workers.language_models.chat import LanguageModel, Message, Reply

_TIMES_ASKED = 3
"""For one new prompt: replies that hold none, or one that is there already, are asked again."""
_PAIRS_SHOWN = 3
"""Human answers in the request for the first candidates."""

Pair = tuple[str, str]
"""A question and people's answer."""
Judge = Callable[[Sequence[tuple[str, str, str]]], list[list[CriterionScore]]]
"""Scores each (question, reference, answer) by the four criteria."""
_Origin = Literal["initial", "reflection", "resampling"]


@dataclass(frozen=True)
class _Wanted:
    """A prompt that is to be written."""

    messages: tuple[Message, ...]
    origin: _Origin
    parent: int | None = None


class PromptOptimizer:
    """`pairs` are all those that every candidate is scored on, in their order."""

    def __init__(
        self,
        *,
        teacher: LanguageModel,
        writer: LanguageModel,
        judge: Judge,
        pairs: Sequence[Pair],
        answers: AnswerWriting,
        settings: PromptOptimization,
        telling: Telling,
    ):
        self._teacher, self._writer, self._judge = teacher, writer, judge
        self._pairs, self._answers, self._settings = pairs, answers, settings
        self._telling = telling
        self._candidates: list[PromptCandidate] = []
        self._samples: Counter[tuple[Message, ...]] = Counter()

    def optimize(self) -> PromptHistory:
        """Raises what the models raise, such as BudgetExhausted."""
        announced = self._answers.prompt
        self._add(0, "announced", None, announced)
        first = _Wanted(requests.first_prompts(announced, self._pairs[:_PAIRS_SHOWN]), "initial")
        self._add_written(0, [first] * self._settings.candidates)
        for iteration in range(1, self._settings.iterations + 1):
            self._add_written(iteration, self._wanted())
        return PromptHistory(
            alpha=self._settings.alpha,
            candidates=self._candidates,
            best=best(self._candidates).index,
        )

    def _wanted(self) -> list[_Wanted]:
        """Of each survivor a reflection, and as many new ones after the list of them all."""
        chosen = survivors(self._candidates, self._settings.survivors)
        reflections = [
            _Wanted(self._reflection(candidate), "reflection", candidate.index)
            for candidate in chosen
        ]
        scored = [(each.prompt, each.score) for each in chosen]
        resampled = _Wanted(requests.resampling(scored), "resampling")
        return [*reflections, *[resampled] * len(chosen)]

    def _reflection(self, candidate: PromptCandidate) -> tuple[Message, ...]:
        worst = feedback(candidate.judged, self._settings.feedback_examples)
        return requests.reflection(candidate.prompt, candidate.score, worst)

    def _add_written(self, iteration: int, wanted: Sequence[_Wanted]) -> None:
        for each, prompt in zip(wanted, self._written(iteration, wanted), strict=True):
            if prompt is not None:
                self._add(iteration, each.origin, each.parent, prompt)

    def _written(self, iteration: int, wanted: Sequence[_Wanted]) -> list[str | None]:
        """A new prompt for each, or None where several replies held none."""
        known = {normalised(each.prompt) for each in self._candidates}
        found: list[str | None] = [None] * len(wanted)
        for _ in range(_TIMES_ASKED):
            missing = [place for place, prompt in enumerate(found) if prompt is None]
            asked = [
                requests.new_prompt(wanted[place].messages, self._next_sample(wanted[place]))
                for place in missing
            ]
            for place, reply in zip(missing, self._writer.complete(asked), strict=True):
                prompt = prompt_in(reply)
                if prompt is not None and normalised(prompt) not in known:
                    known.add(normalised(prompt))
                    found[place] = prompt
        self._tell_of_missing(iteration, found)
        return found

    def _next_sample(self, wanted: _Wanted) -> int:
        """Another one each time the same is asked, in this iteration or a later one."""
        self._samples[wanted.messages] += 1
        return self._samples[wanted.messages] - 1

    def _tell_of_missing(self, iteration: int, found: Sequence[str | None]) -> None:
        if missing := found.count(None):
            self._telling.warn(
                f"iteration {iteration} of the prompt optimisation has {missing} candidates fewer "
                f"than the {len(found)} asked for: {_TIMES_ASKED} replies each held no prompt, or "
                "one that was there already"
            )

    def _add(
        self,
        iteration: int,
        origin: Literal["announced", "initial", "reflection", "resampling"],
        parent: int | None,
        prompt: str,
    ) -> None:
        asked = [
            requests.answer(prompt, question, None, self._answers) for question, _ in self._pairs
        ]
        judged = self._judged(self._teacher.complete(asked))
        candidate = PromptCandidate(
            index=len(self._candidates),
            iteration=iteration,
            origin=origin,
            parent=parent,
            prompt=prompt,
            score=prompt_score(judged),
            judged=judged,
        )
        self._candidates.append(candidate)
        self._tell_of(candidate)

    def _judged(self, replies: Sequence[Reply]) -> list[JudgedAnswer]:
        """What a corpus would leave out, as no answer, has the lowest scores; no judge is asked."""
        items = [
            (question, reference, spoken(reply))
            for (question, reference), reply in zip(self._pairs, replies, strict=True)
        ]
        lacks = [
            why_no_answer(reply, question)
            for (question, _), reply in zip(self._pairs, replies, strict=True)
        ]
        to_judge = [item for item, lack in zip(items, lacks, strict=True) if lack is None]
        scores = iter(self._judge(to_judge) if to_judge else ())
        return [
            judged_answer(
                *item, next(scores) if lack is None else _lowest(lack), self._settings.alpha
            )
            for item, lack in zip(items, lacks, strict=True)
        ]

    def _tell_of(self, candidate: PromptCandidate) -> None:
        settings = self._settings
        planned = 1 + settings.candidates + 2 * settings.survivors * settings.iterations
        leading = best(self._candidates)
        self._telling.progress(
            len(self._candidates),
            planned,
            f"prompts scored; the best of them, {leading.index}, has {leading.score:.2f} of 10",
        )


def _lowest(why: str) -> list[CriterionScore]:
    """The lowest score of the scale by every criterion."""
    reasons = f"It counts as no answer: {why}."
    return [CriterionScore(criterion=each, reasons=reasons, score=1) for each in CRITERIA]
