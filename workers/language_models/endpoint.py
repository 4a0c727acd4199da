"""A model behind an OpenAI-compatible endpoint, asked over HTTP: `POST {url}/chat/completions`.

The one place of this room that calls out. The key goes into the Authorization header and nowhere
else: no error, log line or record has it.
"""

import email.utils
import functools
import json
import math
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass

import httpx

from api_schemas.errors import LanguageModelFailed
from api_schemas.language_models import EndpointAccess
from workers.language_models.chat import ChatRequest, Reply
from workers.language_models.choices import chosen, with_words
from workers.language_models.completions import (
    body_of,
    is_filtered,
    no_reply,
    text_of,
    usage_of,
)
from workers.language_models.meter import Tariff, Usage
from workers.language_models.recorded import Bought, Till
from workers.texts import in_utf8

_RETRIED = (408, 409, 425, 429)
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_LONGEST_RETRY_AFTER_SECONDS = 600.0
"""An endpoint that wants to be left alone for longer fails the run, which can be gone on with."""
_MAX_BODY_BYTES = 8 * 2**20
_SHOWN_CHARACTERS = 200
_TOKENS_OF_A_REQUEST, _TOKENS_OF_A_MESSAGE = 64, 16
"""What a chat template adds, generously: of the common ones a message has under 10."""

Pause = Callable[[threading.Event, float], object]
"""Waits so many seconds, or until the event is set."""


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted, read once a process: it takes longer than a call."""
    return httpx.create_ssl_context()


class _GivenUp(Exception):
    """Another call of the same batch failed: this one is not worth another attempt."""


@dataclass(frozen=True)
class _Again:
    """An attempt that is worth another: why, and after how long if the endpoint said so.

    `lost`: the request was sent and may be charged for.
    """

    reason: str
    after: float | None = None
    lost: bool = False


class EndpointSource:
    """Asks with as many calls at once as the endpoint allows, in one process; retries with
    exponential pauses, as long as the endpoint asks for, at most `attempts` times."""

    def __init__(
        self, endpoint: EndpointAccess, model: str, *, pause: Pause = threading.Event.wait
    ):
        self._endpoint, self._model, self._pause = endpoint, model, pause
        self._tariff = Tariff(endpoint.prompt_price, endpoint.completion_price, endpoint.currency)
        self._places = _places_at(endpoint)

    def most(self, request: ChatRequest) -> Usage:
        """A bound of what one call takes: no tokenizer here has more tokens than a text has bytes.

        An endpoint that thinks unseen, and charges for it beyond `max_tokens`, may exceed it.
        """
        asked = with_words(request)
        written = sum(len(message.content.encode()) for message in asked.messages)
        overhead = _TOKENS_OF_A_REQUEST + _TOKENS_OF_A_MESSAGE * len(asked.messages)
        return self._tariff.usage(
            written + overhead, asked.max_tokens + self._endpoint.thought_tokens
        )

    def write(self, requests: Sequence[ChatRequest], till: Till) -> Iterator[ChatRequest]:
        """As `Source.write`. Raises LanguageModelFailed or BudgetExhausted, the first there is."""
        stop = threading.Event()
        client = httpx.Client(
            timeout=self._endpoint.timeout_seconds,
            limits=httpx.Limits(max_connections=self._endpoint.concurrency),
            follow_redirects=False,
            verify=_trusted(),
        )
        with client, ThreadPoolExecutor(self._endpoint.concurrency, "endpoint") as threads:
            futures = [threads.submit(self._bought, client, each, till, stop) for each in requests]
            try:
                for future in as_completed(futures):
                    with suppress(_GivenUp):  # whatever they were given up for is raised too
                        yield future.result()
            finally:
                stop.set()
                threads.shutdown(cancel_futures=True)  # waits for those in flight, and keeps them

    def _bought(
        self, client: httpx.Client, request: ChatRequest, till: Till, stop: threading.Event
    ) -> ChatRequest:
        """As `_buy`; after a failure nothing more is begun."""
        try:
            return self._buy(client, request, till, stop)
        except BaseException:
            stop.set()
            raise

    def _buy(
        self, client: httpx.Client, request: ChatRequest, till: Till, stop: threading.Event
    ) -> ChatRequest:
        """Reserve, ask until there is a reply, keep it."""
        most, reason = self.most(request), ""
        for attempt in range(1, self._endpoint.attempts + 1):
            if stop.is_set():
                raise _GivenUp
            found = self._attempt(client, request, most, till)
            if found is None:
                return request
            reason = found.reason
            if attempt < self._endpoint.attempts:
                self._pause(stop, self._pause_seconds(attempt, found))
        raise self._failed(
            f"gave no reply in {attempt} attempts, the last time because {reason}",
            "endpoint_unavailable",
        )

    def _attempt(
        self, client: httpx.Client, request: ChatRequest, most: Usage, till: Till
    ) -> _Again | None:
        """None when the reply is kept. What may have been charged without one is counted too."""
        held = till.send(most)
        try:
            with self._places:
                found = self._ask(client, request, most)
        except BaseException as error:
            if isinstance(error, LanguageModelFailed) and error.code == "endpoint_garbage":
                till.meter.lose(most)
            else:
                till.unsend(most, held)
            raise
        if isinstance(found, Bought):
            till.keep(request, most, found, held)
            return None
        if found.lost:
            till.meter.lose(most)
        else:
            till.unsend(most, held)
        return found

    def _pause_seconds(self, attempt: int, found: _Again) -> float:
        if found.after is None:
            longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1))
            return longest * random.uniform(0.5, 1.0)
        if found.after > _LONGEST_RETRY_AFTER_SECONDS:
            raise self._failed(
                f"{found.reason} and asks to be left alone for {found.after:.0f} s, more than "
                f"{_LONGEST_RETRY_AFTER_SECONDS:.0f}; go on with the run later",
                "endpoint_unavailable",
            )
        return found.after

    def _ask(self, client: httpx.Client, request: ChatRequest, most: Usage) -> Bought | _Again:
        """One attempt. Raises LanguageModelFailed for what another would not mend."""
        begun = time.monotonic()
        try:
            with client.stream(
                "POST",
                f"{self._endpoint.url.rstrip('/')}/chat/completions",
                json=body_of(self._endpoint, self._model, request),
                headers=self._headers(),
            ) as response:
                body = self._body_of(response, begun)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return _Again(f"it can't be reached ({type(error).__name__})")
        except (httpx.TimeoutException, TimeoutError):
            return _Again(f"nothing came within {self._endpoint.timeout_seconds:g} s", lost=True)
        except httpx.TransportError as error:
            return _Again(f"the connection broke ({type(error).__name__})", lost=True)
        if response.status_code == 200:
            return self._read(request, body, most)
        if response.status_code == 400 and is_filtered(body):
            return Bought(no_reply(Usage(0, 0)), Usage(0, 0))  # what is refused isn't charged
        reason = f"it answered {response.status_code}: {self._shown(body)}"
        if response.status_code in _RETRIED or response.status_code >= 500:
            return _Again(reason, _retry_after(response.headers.get("Retry-After")))
        raise self._failed(reason + _advice(response.status_code), "endpoint_refused")

    def _headers(self) -> dict[str, str]:
        # A body that is not compressed can't grow beyond what was read of it.
        headers = {"Accept-Encoding": "identity"}
        if self._endpoint.key is not None:
            headers["Authorization"] = f"Bearer {self._endpoint.key}"
        return headers

    def _body_of(self, response: httpx.Response, begun: float) -> bytes:
        """Raises TimeoutError where bytes go on dripping in."""
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                raise self._failed(
                    f"its reply has more than {_MAX_BODY_BYTES >> 20} MiB", "endpoint_garbage"
                )
            if time.monotonic() - begun > self._endpoint.timeout_seconds:
                raise TimeoutError
        return bytes(body)

    def _read(self, request: ChatRequest, body: bytes, most: Usage) -> Bought:
        """Raises LanguageModelFailed (`endpoint_garbage`) for a body that is no completion."""
        try:
            told = json.loads(body)
            first = told["choices"][0]
            text, ended = text_of(first), first.get("finish_reason")
        except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise self._failed(
                f"answered what is no chat completion ({type(error).__name__}: "
                f"{self._without_key(str(error))}): {self._shown(body)}",
                "endpoint_garbage",
            ) from None
        usage = usage_of(told.get("usage"))
        # Nothing told is not nothing taken: then the bound is counted.
        taken = self._tariff.usage(*usage) if usage else most
        if text is None:
            return Bought(no_reply(taken), taken, usage_told=usage is not None)
        (text,) = in_utf8([text])
        reply = Reply(
            text=text,
            choice=chosen(text, request.choice) if request.choice else None,
            prompt_tokens=taken.prompt_tokens,
            completion_tokens=taken.completion_tokens,
            complete=ended != "length",
        )
        return Bought(reply, taken, usage_told=usage is not None)

    def _shown(self, body: bytes) -> str:
        return repr(self._without_key(body.decode("utf-8", "replace"))[:_SHOWN_CHARACTERS])

    def _without_key(self, text: str) -> str:
        """Some endpoints repeat what they were sent."""
        return text.replace(self._endpoint.key, "[key]") if self._endpoint.key else text

    def _failed(self, what: str, code: str) -> LanguageModelFailed:
        where = f"endpoint {self._endpoint.name!r} (model {self._model!r})"
        return LanguageModelFailed(f"{where}: {what}", code=code)


def _advice(status: int) -> str:
    if status in (401, 403):
        return "; its operator must mend the endpoint's key"
    if 300 <= status < 400:
        return "; redirects are not followed: the operator's list must name where it leads"
    return ""


def _retry_after(value: str | None) -> float | None:
    """Seconds, of a number or a date; None for anything else."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


_gates: dict[tuple[str, int], threading.BoundedSemaphore] = {}
_gates_lock = threading.Lock()


def _places_at(endpoint: EndpointAccess) -> threading.BoundedSemaphore:
    """One for all that ask it in this process, be they generators, teachers or judges."""
    key = endpoint.url, endpoint.concurrency
    with _gates_lock:
        return _gates.setdefault(key, threading.BoundedSemaphore(endpoint.concurrency))
