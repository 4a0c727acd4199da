"""Language models for tests: requests, and a model at the scripted endpoint whose pauses take no
time."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripted_endpoint import MODEL, NAME, ScriptedEndpoint

from api_schemas.language_models import Budget
from workers.artifacts import ArtifactStore
from workers.language_models.call_book import CallBook
from workers.language_models.chat import ChatRequest, Choice, Message
from workers.language_models.endpoint import EndpointSource
from workers.language_models.meter import Meter, Tariff
from workers.language_models.recorded import RecordedModel

SCORE = Choice("Score:", tuple(str(score) for score in range(1, 11)))
IDENTITY = f"endpoint:{NAME}:{MODEL}"


def ask(text: str, **fields: Any) -> ChatRequest:
    given = {"max_tokens": 20, **fields}
    return ChatRequest(messages=(Message("user", text),), **given)


@dataclass
class Asking:
    """A model at an endpoint, its book and meter, and how long it would have paused."""

    book: CallBook
    meter: Meter
    model: RecordedModel
    pauses: list[float] = field(default_factory=list)


def asking(
    endpoint: ScriptedEndpoint, folder: Path | str, *, budget: Budget | None = None, **access: Any
) -> Asking:
    book = CallBook(ArtifactStore(str(folder)), "a-run")
    meter = Meter(budget or Budget(), already=book.spent)
    given = endpoint.access(**access)
    pauses: list[float] = []

    def pause(_stop: threading.Event, seconds: float) -> None:
        pauses.append(seconds)

    model = RecordedModel(
        IDENTITY,
        lambda: EndpointSource(given, MODEL, pause=pause),
        Tariff(given.prompt_price, given.completion_price, given.currency),
        book,
        meter,
    )
    return Asking(book, meter, model, pauses)
