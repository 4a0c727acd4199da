"""A language model whose every call is recorded and counted, whatever writes the replies."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from api_schemas.errors import LanguageModelFailed
from workers.language_models.call_book import Call, CallBook
from workers.language_models.chat import ChatRequest, Message, Reply
from workers.language_models.meter import Meter, Tariff, Usage
from workers.texts import in_utf8

_TIMES_ASKED = 3
"""In one run, beyond what earlier ones recorded: whoever mended the judge may go on."""
_ANOTHER_SAMPLE = 1_000_003
"""Between the samples of one question that is asked again: callers count theirs from 0."""
_LEAST_TEMPERATURE = 0.7
"""Of a question that is asked again: at 0 the same unreadable reply would come."""


@dataclass(frozen=True)
class Bought:
    """A reply as it was written; `choice` None where one was asked for and can't be read."""

    reply: Reply
    usage: Usage
    usage_told: bool = True


class Source(Protocol):
    """What writes replies."""

    def write(self, requests: Sequence[ChatRequest], till: "Till") -> Iterator[ChatRequest]:
        """Buy a reply to each request, through the till, in any order; gives each request that has
        one by now. What is raised comes when calls in flight have been kept."""
        ...


@dataclass(frozen=True)
class Till:
    """Through which every call goes: reserved before it, durable and settled after it."""

    identity: str
    currency: str | None
    calls: CallBook
    meter: Meter

    def send(self, most: Usage) -> str:
        """Reserve for a call that may be charged for even if no reply comes. The book counts it
        from now on, whatever becomes of this process, until `keep` or `unsend` gets this name."""
        self.meter.reserve(most)
        try:
            return self.calls.hold(most, self.currency)
        except BaseException:
            self.meter.release(most)
            raise

    def unsend(self, most: Usage, held: str) -> None:
        """It was not made, or refused."""
        self.meter.release(most)
        self.calls.drop(held)

    def keep(
        self, request: ChatRequest, most: Usage, bought: Bought, held: str | None = None
    ) -> None:
        """Record a reply for which `most` was reserved, whatever it is worth."""
        try:
            self.calls.add(
                Call(
                    identity=self.identity,
                    request=request,
                    reply=bought.reply,
                    cost_micro_units=bought.usage.cost_micro_units,
                    currency=self.currency,
                    usage_told=bought.usage_told,
                )
            )
            if held is not None:
                self.calls.drop(held)
        finally:
            self.meter.settle(most, bought.usage)


class RecordedModel:
    """`LanguageModel` that answers from the book what is in it, and buys the rest.

    The source is made when the first reply must be bought: a replay needs neither endpoint nor
    weights.
    """

    def __init__(
        self,
        identity: str,
        source: Callable[[], Source],
        tariff: Tariff,
        calls: CallBook,
        meter: Meter,
    ):
        self._identity, self._make_source = identity, source
        self._calls, self._meter = calls, meter
        self._till = Till(identity, tariff.currency, calls, meter)
        self._source: Source | None = None
        if not calls.is_replay:
            meter.charge_in(tariff.currency)

    @property
    def identity(self) -> str:
        return self._identity

    def complete(
        self, requests: Sequence[ChatRequest], done: Callable[[int], None] | None = None
    ) -> list[Reply]:
        """As `LanguageModel.complete`. A question whose choice can't be read in its reply is asked
        again as other samples; after three such replies, beyond those that were recorded before,
        LanguageModelFailed (`unreadable_reply`). The first that can be read is the reply.
        """
        places: dict[ChatRequest, list[int]] = {}
        for place, request in enumerate(map(_clean, requests)):
            places.setdefault(request, []).append(place)
        found: dict[int, Reply] = {}
        new = Counter[ChatRequest]()
        for attempt in itertools.count():
            tried: dict[ChatRequest, list[int]] = {}
            for request, its in places.items():
                if its[0] not in found and self._may_ask(request, attempt, new):
                    tried.setdefault(_again(request, attempt), []).extend(its)
            if not tried:
                break
            for replies in self._replies(list(tried)):
                for request, reply in replies.items():
                    if request.choice is None or reply.choice is not None:
                        found |= dict.fromkeys(tried[request], reply)
                if done is not None:
                    done(len(found))
        for request, (place, *_) in places.items():
            if place not in found:
                raise self._unreadable(request)
        return [found[place] for place in range(len(requests))]

    def _may_ask(self, request: ChatRequest, attempt: int, new: Counter[ChatRequest]) -> bool:
        """Whether that sample is recorded, or one more may be bought; counts it in `new`."""
        if self._calls.find(self._identity, _again(request, attempt)) is not None:
            return True
        new[request] += 1
        # In a replay the first that is missing was never asked, and is named as that.
        return attempt == 0 if self._calls.is_replay else new[request] <= _TIMES_ASKED

    def _replies(self, requests: Sequence[ChatRequest]) -> Iterator[dict[ChatRequest, Reply]]:
        """Those that were recorded before, then each that is bought."""
        known = {each: self._calls.find(self._identity, each) for each in requests}
        recorded = {each: call.reply for each, call in known.items() if call is not None}
        missing = [each for each in requests if each not in recorded]
        if recorded:
            self._meter.replay(len(recorded))
            yield recorded
        if missing and self._calls.is_replay:
            self._calls.require(self._identity, missing[0])
        if missing and self._source is None:
            self._source = self._make_source()
        if missing and self._source is not None:
            for request in self._source.write(missing, self._till):
                yield {request: self._calls.require(self._identity, request).reply}

    def _unreadable(self, request: ChatRequest) -> LanguageModelFailed:
        samples = (_again(request, attempt) for attempt in itertools.count())
        asked = itertools.takewhile(
            lambda call: call is not None,
            (self._calls.find(self._identity, each) for each in samples),
        )
        texts = [call.reply.text for call in asked if call is not None]
        choice = request.choice
        wanted = f"{choice.cue!r} and one of {', '.join(choice.options)}" if choice else ""
        return LanguageModelFailed(
            f"{self._identity}: {len(texts)} replies to one question don't end with a line of "
            f"{wanted}; the last is {texts[-1][:200]!r}",
            code="unreadable_reply",
        )


def _clean(request: ChatRequest) -> ChatRequest:
    """Without lone surrogates, which neither JSON nor tokenizers take."""
    texts = in_utf8(message.content for message in request.messages)
    messages = tuple(
        Message(message.role, text) for message, text in zip(request.messages, texts, strict=True)
    )
    return replace(request, messages=messages)


def _again(request: ChatRequest, attempt: int) -> ChatRequest:
    if attempt == 0:
        return request
    return replace(
        request,
        sample=request.sample + attempt * _ANOTHER_SAMPLE,
        temperature=max(request.temperature, _LEAST_TEMPERATURE),
    )
