"""Asking a model: requests and responses as OpenAI's API has them, so that its clients work.

What is not supported is refused by its name; of what changes nothing, the neutral value is taken.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from api_schemas import examples
from api_schemas.base import Schema

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=500)]
_Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_INT64 = 2**63


class TextPart(Schema):
    type: Literal["text"]
    text: str


class Message(Schema):
    role: Role
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(Schema):
    include_usage: bool = Field(False, description="Send one more chunk, with `usage` alone.")


class _Sampling(Schema):
    """What both routes take. `model` is a tuned model's id, or the name of a base model."""

    model: ModelName
    max_tokens: int | None = Field(None, ge=1, description="Tokens to write at most.")
    temperature: float = Field(
        1.0, ge=0, le=2, description="0 takes the likeliest token; 1 is what rounds sample with."
    )
    top_p: float = Field(1.0, gt=0, le=1, description="Only the likeliest tokens of this mass.")
    seed: int | None = Field(
        None, ge=-_INT64, lt=_INT64, description="The same seed draws the same tokens again."
    )
    stop: _Stop | Annotated[list[_Stop], Field(max_length=4)] | None = Field(
        None, description="Texts that end the answer; they are not part of it."
    )
    stream: bool = Field(False, description="Send the answer as server-sent events, as it grows.")
    stream_options: StreamOptions | None = None
    n: int = Field(1, ge=1, le=1, description="One answer a request.")
    frequency_penalty: float = Field(0, ge=0, le=0, description="Not supported.")
    presence_penalty: float = Field(0, ge=0, le=0, description="Not supported.")
    user: str | None = Field(None, description="Taken, and not used.")

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or [])

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> "_Sampling":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options need stream: true")
        return self


class ChatCompletionCreate(_Sampling):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "mdl_01jd2m8x3k5v7w9y0a1b2c3d4e",
                    "messages": [{"role": "user", "content": "Help me with my homework."}],
                    "max_tokens": 64,
                    "temperature": 0,
                }
            ]
        }
    )

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(
        None, ge=1, description="As `max_tokens`, which has become OpenAI's older name."
    )
    logprobs: Literal[False] | None = Field(None, description="Not supported.")

    @model_validator(mode="after")
    def _one_limit(self) -> "ChatCompletionCreate":
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("give max_completion_tokens or max_tokens, not both")
        return self

    @property
    def limit(self) -> tuple[str, int | None]:
        """The field that limits the answer, and how many tokens it says."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return "max_tokens", self.max_tokens


class CompletionCreate(_Sampling):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "smollm2-135m-instruct",
                    "prompt": "The rain in April",
                    "max_tokens": 32,
                    "seed": 7,
                }
            ]
        }
    )

    prompt: (
        Annotated[str, StringConstraints(min_length=1)]
        | Annotated[
            list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1, max_length=1)
        ]
    ) = Field(description="Text to go on with, as it is: no chat template is put around it.")
    echo: Literal[False] | None = Field(None, description="Not supported.")
    best_of: int | None = Field(None, ge=1, le=1, description="Not supported.")

    @property
    def text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]

    @property
    def limit(self) -> tuple[str, int | None]:
        return "max_tokens", self.max_tokens


class Usage(Schema):
    """Counts tokens. The token that ends an answer is one of them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(Schema):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Schema):
    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: None = None


class ChatCompletion(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.CHAT_COMPLETION]})

    object: Literal["chat.completion"] = "chat.completion"
    id: str
    created: int = Field(description="Unix seconds.")
    model: str
    choices: list[ChatChoice]
    usage: Usage


class CompletionChoice(Schema):
    index: int
    text: str
    finish_reason: FinishReason | None
    logprobs: None = None


class Completion(Schema):
    """Also a chunk of one that is streamed: `finish_reason` is null until the last."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.COMPLETION]})

    object: Literal["text_completion"] = "text_completion"
    id: str
    created: int = Field(description="Unix seconds.")
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None


class Delta(Schema):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Schema):
    index: int
    delta: Delta
    finish_reason: FinishReason | None
    logprobs: None = None


class ChatCompletionChunk(Schema):
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
