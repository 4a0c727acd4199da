"""Answers in the shapes of OpenAI's API: whole, or as chunks of a stream."""

import json
import time
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel

from api_schemas.completions import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChunkChoice,
    Completion,
    CompletionChoice,
    Delta,
    FinishReason,
    Usage,
)
from api_schemas.errors import TruthtuneError
from api_schemas.ids import new_id
from service.errors import openai_error
from service.playground.asking import Answer
from workers.serving.requests import End

DONE = "data: [DONE]\n\n"


def sse(chunk: BaseModel) -> str:
    return f"data: {chunk.model_dump_json()}\n\n"


def sse_error(error: TruthtuneError) -> str:
    """What OpenAI's clients raise as an APIError: the status has been sent before."""
    said = openai_error(error.status, error.message, error.code, error.param)
    return f"data: {json.dumps({'error': said.model_dump()})}\n\n"


def usage_of(end: End) -> Usage:
    return Usage(
        prompt_tokens=end.prompt_tokens,
        completion_tokens=end.completion_tokens,
        total_tokens=end.prompt_tokens + end.completion_tokens,
    )


class Format(Protocol):
    """One answer's; every chunk has the same id and time."""

    def opening(self) -> list[BaseModel]: ...

    def piece(self, text: str) -> BaseModel: ...

    def closing(self, end: End) -> BaseModel: ...

    def usage(self, end: End) -> BaseModel: ...

    def whole(self, answer: Answer) -> BaseModel: ...


@dataclass(frozen=True)
class ChatFormat:
    model: str
    id: str = field(default_factory=lambda: new_id("chatcmpl"))
    created: int = field(default_factory=lambda: int(time.time()))

    def opening(self) -> list[BaseModel]:
        return [self._chunk(Delta(role="assistant", content=""), None)]

    def piece(self, text: str) -> BaseModel:
        return self._chunk(Delta(content=text), None)

    def closing(self, end: End) -> BaseModel:
        return self._chunk(Delta(), end.finish_reason)

    def usage(self, end: End) -> BaseModel:
        return self._chunks([], usage_of(end))

    def whole(self, answer: Answer) -> BaseModel:
        choice = ChatChoice(
            index=0,
            message=AnswerMessage(content=answer.text),
            finish_reason=answer.end.finish_reason,
        )
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[choice],
            usage=usage_of(answer.end),
        )

    def _chunk(self, delta: Delta, reason: FinishReason | None) -> ChatCompletionChunk:
        return self._chunks([ChunkChoice(index=0, delta=delta, finish_reason=reason)])

    def _chunks(
        self, choices: list[ChunkChoice], usage: Usage | None = None
    ) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self.id, created=self.created, model=self.model, choices=choices, usage=usage
        )


@dataclass(frozen=True)
class CompletionFormat:
    model: str
    id: str = field(default_factory=lambda: new_id("cmpl"))
    created: int = field(default_factory=lambda: int(time.time()))

    def opening(self) -> list[BaseModel]:
        return []

    def piece(self, text: str) -> BaseModel:
        return self._answer([CompletionChoice(index=0, text=text, finish_reason=None)])

    def closing(self, end: End) -> BaseModel:
        last = CompletionChoice(index=0, text="", finish_reason=end.finish_reason)
        return self._answer([last])

    def usage(self, end: End) -> BaseModel:
        return self._answer([], usage_of(end))

    def whole(self, answer: Answer) -> BaseModel:
        reason = answer.end.finish_reason
        choice = CompletionChoice(index=0, text=answer.text, finish_reason=reason)
        return self._answer([choice], usage_of(answer.end))

    def _answer(self, choices: list[CompletionChoice], usage: Usage | None = None) -> Completion:
        return Completion(
            id=self.id, created=self.created, model=self.model, choices=choices, usage=usage
        )
