"""Questions of paragraphs, then rounds of questions after those of the round before.

After CourseGPT-zh (Qu et al. 2024, arXiv 2405.04781, section on question generation). What is asked
never depends on how fast a model replies: calls go out in waves, and what a wave brought is example
in later waves only. The first wave is one call, each next one twice as many, so that nearly every
call has examples and most calls go out together.
"""

import random
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from api_schemas.corpora import QuestionRound, QuestionWriting
from api_schemas.errors import LanguageModelFailed
from workers.corpora import requests
from workers.corpora.near_duplicates import NearDuplicates
from workers.corpora.paragraphs import Paragraph
from workers.corpora.replies import questions_in
from workers.language_models.chat import ChatRequest, LanguageModel, Reply

_LARGEST_WAVE = 64
_PATIENCE = 8
"""Replies in a row that bring nothing new, after which a generator is asked no more in a round."""


@dataclass(frozen=True)
class Question:
    """`paragraph` is the place of the one it was asked of; None in rounds after the first."""

    text: str
    paragraph: int | None
    round: int


@dataclass(frozen=True)
class Written:
    questions: list[Question]
    rounds: list[QuestionRound]


@dataclass(frozen=True)
class Telling:
    """Where progress (done, total, of what) and warnings go."""

    progress: Callable[[int, int, str], None]
    warn: Callable[[str], None]


@dataclass(frozen=True)
class _Ask:
    """One call: what is asked, given the training questions by now."""

    request: Callable[[Sequence[str]], ChatRequest]
    paragraph: int | None


@dataclass
class _Round:
    """What one round brought so far; `idle` are each generator's last replies without news."""

    number: int
    idle: list[int]
    questions: list[Question] = field(default_factory=list)
    asked: int = 0
    written: int = 0
    unreadable: int = 0

    def counts(self) -> QuestionRound:
        kept = len(self.questions)
        return QuestionRound(
            round=self.number,
            asked=self.asked,
            written=self.written,
            unreadable=self.unreadable,
            near_duplicates=self.written - kept,
            kept=kept,
        )


class QuestionWriter:
    """Writes a corpus's questions with the generators in turn, several at once.

    No question is nearly the same as one before it, or as a seed: a model that only copies its
    examples has written nothing.
    """

    def __init__(
        self,
        generators: Sequence[LanguageModel],
        settings: QuestionWriting,
        seeds: Sequence[str],
        seed: int,
        telling: Telling,
    ):
        self._generators, self._settings = generators, settings
        self._seeds, self._seed, self._telling = seeds, seed, telling
        self._known = NearDuplicates(settings.similarity)
        for question in seeds:
            self._known.add(question)

    def write(self, paragraphs: Sequence[Paragraph], held_out: Collection[int]) -> Written:
        """Raises LanguageModelFailed if no reply of the first round holds a question, and what the
        generators raise. A later round that brings nothing is the last."""
        first = self._first_round(paragraphs, held_out)
        if not first.written:
            raise LanguageModelFailed(
                f"none of {first.asked} replies held a question that can be read: choose other "
                "generators",
                code="no_questions",
                param="generators",
            )
        rounds = [first]
        while len(rounds) <= self._settings.rounds:
            last = [each.text for each in rounds[-1].questions if each.paragraph not in held_out]
            if not last:
                self._telling.warn(
                    f"question round {rounds[-1].number} brought no question for a next round to "
                    "start from: there is none"
                )
                break
            rounds.append(self._later_round(len(rounds), last))
        questions = [question for each in rounds for question in each.questions]
        return Written(questions, [each.counts() for each in rounds])

    def _first_round(self, paragraphs: Sequence[Paragraph], held_out: Collection[int]) -> _Round:
        asks = [
            _Ask(self._of_paragraph(place, paragraph), place)
            for place, paragraph in enumerate(paragraphs)
        ]
        return self._run(0, asks, held_out)

    def _of_paragraph(
        self, place: int, paragraph: Paragraph
    ) -> Callable[[Sequence[str]], ChatRequest]:
        chance = random.Random(f"{self._seed}/questions/0/{place}")
        settings = self._settings
        seeds = _some(chance, self._seeds, settings.seed_examples)
        return lambda known: requests.questions_of_paragraph(
            paragraph, seeds, _some(chance, known, settings.generated_examples), settings
        )

    def _later_round(self, number: int, last: list[str]) -> _Round:
        """Each question of the last round is an example once."""
        settings = self._settings
        chance = random.Random(f"{self._seed}/questions/{number}")
        chance.shuffle(last)
        asks = []
        for start in range(0, len(last), settings.content_examples):
            content = last[start : start + settings.content_examples]
            styles = _some(chance, self._seeds, settings.style_examples)
            request = requests.more_questions(content, styles, settings)
            asks.append(_Ask(_always(request), None))
        return self._run(number, asks, ())

    def _run(self, number: int, asks: Sequence[_Ask], held_out: Collection[int]) -> _Round:
        found = _Round(number, [0] * len(self._generators))
        active = list(range(len(self._generators)))
        while found.asked < len(asks) and active:
            wave = asks[found.asked : found.asked + min(found.asked + 1, _LARGEST_WAVE)]
            examples = [each.text for each in found.questions if each.paragraph not in held_out]
            chosen = [active[(found.asked + k) % len(active)] for k in range(len(wave))]
            self._take(found, wave, chosen, self._replies(found, wave, chosen, examples, len(asks)))
            active = self._still_active(found, active, len(asks))
        return found

    def _replies(
        self,
        found: _Round,
        wave: Sequence[_Ask],
        chosen: Sequence[int],
        examples: Sequence[str],
        total: int,
    ) -> list[Reply]:
        """All generators of the wave at once; what one raises is raised when all have ended."""
        counter = _Counter(
            found.asked, total, f"calls of question round {found.number}", self._telling
        )
        asked: dict[int, dict[int, ChatRequest]] = {}
        for place, (ask, generator) in enumerate(zip(wave, chosen, strict=True)):
            asked.setdefault(generator, {})[place] = ask.request(examples)

        def complete(generator: int) -> list[Reply]:
            own = list(asked[generator].values())
            return self._generators[generator].complete(own, counter.of(generator))

        with ThreadPoolExecutor(len(asked)) as threads:
            replied = list(threads.map(complete, asked))
        places = [place for own in asked.values() for place in own]
        replies = [reply for own in replied for reply in own]
        return [reply for _, reply in sorted(zip(places, replies, strict=True), key=lambda p: p[0])]

    def _take(
        self, found: _Round, wave: Sequence[_Ask], chosen: Sequence[int], replies: Sequence[Reply]
    ) -> None:
        for ask, generator, reply in zip(wave, chosen, replies, strict=True):
            texts = questions_in(reply, self._settings.per_paragraph)
            new = [text for text in texts if self._known.add(text)]
            found.asked += 1
            found.written += len(texts)
            found.unreadable += not texts
            found.idle[generator] = 0 if new else found.idle[generator] + 1
            found.questions += [Question(text, ask.paragraph, found.number) for text in new]

    def _still_active(self, found: _Round, active: Sequence[int], total: int) -> list[int]:
        """Without the generators that only repeat themselves, or write nothing that can be read."""
        for generator in active:
            if found.idle[generator] >= _PATIENCE and found.asked < total:
                self._telling.warn(
                    f"question round {found.number}: the last {found.idle[generator]} replies of "
                    f"{self._generators[generator].identity} brought no new question; it is asked "
                    "no more in this round"
                )
        left = [generator for generator in active if found.idle[generator] < _PATIENCE]
        if not left and found.asked < total:
            self._telling.warn(
                f"question round {found.number} ends after {found.asked} of {total} calls: no "
                "generator writes anything new"
            )
        return left


class _Counter:
    """Replies of several generators, which tell from their own threads, counted together."""

    def __init__(self, before: int, total: int, unit: str, telling: Telling):
        self._before, self._total, self._unit, self._telling = before, total, unit, telling
        self._done: dict[int, int] = {}
        self._lock = threading.Lock()

    def of(self, generator: int) -> Callable[[int], None]:
        def done(count: int) -> None:
            with self._lock:
                self._done[generator] = count
                by_now = self._before + sum(self._done.values())
                self._telling.progress(by_now, self._total, self._unit)

        return done


def _some(chance: random.Random, questions: Sequence[str], count: int) -> list[str]:
    """`count` of them in any order; all where there are fewer."""
    return chance.sample(questions, min(count, len(questions)))


def _always(request: ChatRequest) -> Callable[[Sequence[str]], ChatRequest]:
    return lambda _: request
