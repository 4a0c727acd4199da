"""Every call of a language model with its reply, kept so that none is bought twice.

A book is the folder `calls/<book id>` beside the artifacts: a file a call, named by the digest of
who was asked and what. A file is written to a temporary name, synced and then linked to its name,
so that a call that is there is whole, and of two processes that bought the same call the first
gives both its reply. On a remote store, which can't link, so it is unless both write at the same
moment: then the last one's stays. A file that is damaged all the same counts as missing, and the
call that is bought anew takes its place.

An empty file `lost-…`, whose name says the most that a call can have taken, stands there while a
call is out, and stays where no reply was kept: it may have been charged for.
"""

import hashlib
import json
import logging
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

from api_schemas.errors import LanguageModelFailed
from api_schemas.language_models import Spent
from workers.artifacts import ArtifactStore, canonical_json
from workers.language_models.call_shelves import LOST, Shelf, shelf_of
from workers.language_models.chat import ChatRequest, Choice, Message, Reply
from workers.language_models.meter import Usage, added

_BOOK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """A reply that was bought. `usage_told` is false where the endpoint left its usage out, and a
    bound of it is counted."""

    identity: str
    request: ChatRequest
    reply: Reply
    cost_micro_units: int = 0
    currency: str | None = None
    usage_told: bool = True

    @cached_property
    def key(self) -> str:
        return call_key(self.identity, self.request)

    @property
    def usage(self) -> Usage:
        reply = self.reply
        return Usage(reply.prompt_tokens, reply.completion_tokens, self.cost_micro_units)

    def to_line(self) -> bytes:
        """Canonical JSON, with the key for whoever looks a call up."""
        return canonical_json({"key": self.key, **asdict(self)})

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Raises ValueError for anything but what `to_line` gave."""
        try:
            told = json.loads(line)
            key = told.pop("key")
            request, reply = told.pop("request"), told.pop("reply")
            call = cls(request=_request(request), reply=Reply(**reply), **told)
            whole = call.key == key and call.to_line() == line
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        if not whole:
            raise ValueError("it does not say what its key does")
        return call


def call_key(identity: str, request: ChatRequest) -> str:
    """sha256, as 64 hexadecimal digits, of the canonical JSON of who is asked and what."""
    asked = canonical_json({"identity": identity, "request": asdict(request)})
    return hashlib.sha256(asked).hexdigest()


def _request(told: dict[str, Any]) -> ChatRequest:
    messages = tuple(Message(**each) for each in told.pop("messages"))
    choice = told.pop("choice")
    if choice is not None:
        choice = Choice(choice["cue"], tuple(choice["options"]))
    return ChatRequest(messages=messages, choice=choice, **told)


class CallBook:
    """The calls of one run, or of one reward model; safe to use from several threads.

    `is_replay`: nothing but what it holds may be answered.
    """

    def __init__(self, artifacts: ArtifactStore, book_id: str):
        if not _BOOK_ID.fullmatch(book_id):
            raise ValueError(f"not the name of a book: {book_id!r}")
        self.artifacts, self.is_replay = artifacts, False
        self._shelf: Shelf | None = shelf_of(artifacts.url, book_id)
        self._known: dict[str, Call] = {}
        self._lock = threading.Lock()

    @classmethod
    def replaying(cls, artifacts: ArtifactStore, calls_sha256: str) -> Self:
        """Answers from a recorded JSONL alone. Raises NotFound, and LanguageModelFailed
        (`damaged_record`) for a line that is no call."""
        book = cls(artifacts, "replay")
        book.is_replay, book._shelf = True, None
        for number, line in enumerate(artifacts.get(calls_sha256).splitlines(), start=1):
            call = _read(line, f"line {number} of {calls_sha256}")
            book._known[call.key] = call
        return book

    @classmethod
    def in_memory(cls, artifacts: ArtifactStore) -> Self:
        """Empty, and forgotten with the process: nothing of it is ever written."""
        book = cls(artifacts, "memory")
        book._shelf = None
        return book

    def find(self, identity: str, request: ChatRequest) -> Call | None:
        """The recorded call; None where it was never bought."""
        key = call_key(identity, request)
        with self._lock:
            known = self._known.get(key)
        return known or self._load(key)

    def require(self, identity: str, request: ChatRequest) -> Call:
        """Raises LanguageModelFailed (`not_recorded`) for a call that isn't there."""
        found = self.find(identity, request)
        if found is None:
            asked = request.messages[-1].content if request.messages else ""
            raise LanguageModelFailed(
                f"the recorded calls have no reply of {identity} to {asked[:200]!r} (sample "
                f"{request.sample}): the run that is replayed had other settings or documents",
                code="not_recorded",
            )
        return found

    def add(self, call: Call) -> Call:
        """Keep a call that was bought; it is durable when this returns. Gives the one that is
        kept: where another process was first, that one's. Raises StorageFull."""
        if self.is_replay:
            raise ValueError("a replay buys no calls")
        if self._shelf is not None and not self._shelf.put(call.key, call.to_line()):
            kept = self._load(call.key)
            if kept is None:  # it is damaged
                self._shelf.put(call.key, call.to_line(), replaces=True)
            call = kept or call
        with self._lock:
            self._known[call.key] = call
        return call

    def calls(self) -> list[Call]:
        """All of them, by their keys."""
        if self._shelf is not None:
            for key in self._shelf.names():
                if key not in self._known:
                    self._load(key)
        with self._lock:
            return [self._known[key] for key in sorted(self._known)]

    @property
    def spent(self) -> Spent:
        """On the recorded calls, and on those without a reply the most that they can have taken.
        Of a replay nothing."""
        spent = Spent()
        for usage, currency in self._lost():
            spent = added(spent, usage, calls=0)
            spent = spent.model_copy(update={"currency": currency or spent.currency})
        for call in self.calls() if not self.is_replay else []:
            spent = added(spent, call.usage, calls=1)
            spent = spent.model_copy(update={"currency": call.currency or spent.currency})
        return spent

    def hold(self, most: Usage, currency: str | None) -> str:
        """Count a call that is about to be sent as one that was lost, durably, until the name that
        this gives is dropped. Raises StorageFull."""
        if self.is_replay:
            raise ValueError("a replay buys no calls")
        amounts = f"{most.prompt_tokens}-{most.completion_tokens}-{most.cost_micro_units}"
        name = f"{LOST}-{amounts}-{currency or ''}-{uuid.uuid4().hex}"
        if self._shelf is not None:
            self._shelf.mark(name)
        return name

    def drop(self, held: str) -> None:
        """The call was kept, or not made."""
        if self._shelf is not None:
            self._shelf.unmark(held)

    def _lost(self) -> Iterator[tuple[Usage, str | None]]:
        for name in self._shelf.marks() if self._shelf is not None else ():
            _, prompt, completion, cost, currency, _ = name.split("-")
            yield Usage(int(prompt), int(completion), int(cost)), currency or None

    def to_jsonl(self) -> bytes:
        """A line a call, sorted by their keys: the same calls give the same bytes."""
        return b"".join(call.to_line() + b"\n" for call in self.calls())

    def forget(self) -> None:
        """Remove the folder, which the JSONL in the artifact store makes useless."""
        if self._shelf is not None:
            self._shelf.remove()

    def _load(self, key: str) -> Call | None:
        """None for one that is damaged too, or is another call than its name says."""
        line = self._shelf.get(key) if self._shelf is not None else None
        if line is None or self._shelf is None:
            return None
        where = self._shelf.name_of(key)
        try:
            call = _read(line, where)
        except LanguageModelFailed as error:
            _log.warning(error.message)
            return None
        if call.key != key:
            _log.warning("the recorded call in %s is another one's, %s", where, call.key)
            return None
        with self._lock:
            return self._known.setdefault(key, call)


def _read(line: bytes, where: str) -> Call:
    try:
        return Call.from_line(line)
    except ValueError as error:
        raise LanguageModelFailed(
            f"the recorded call in {where} is damaged: {error}; without it the call is bought anew",
            code="damaged_record",
        ) from None
