"""What the API asks the inference process for, and what comes back, as lines of JSON."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from api_schemas.base import Schema
from api_schemas.completions import FinishReason, Role
from api_schemas.errors import TruthtuneError
from api_schemas.ids import Sha256


class ServedBase(Schema):
    """A base model, with the weights that the round announced."""

    name: str
    revision: Sha256


class ServedModel(Schema):
    """`adapter` is the digest of the model's `adapter.zip`; null for the base model itself."""

    base: ServedBase
    adapter: Sha256 | None


class Turn(Schema):
    role: Role
    content: str


class GenerationRequest(Schema):
    """One answer. `prompt` is text to go on with, or a conversation for the chat template.

    `owner_id` is whose request it is. An answer that would not fit the context is made shorter
    with `may_shorten`, and is refused without.
    """

    model: ServedModel
    owner_id: str
    prompt: str | list[Turn]
    max_tokens: int = Field(ge=1)
    may_shorten: bool
    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    seed: int | None
    stop: list[str]


class Text(Schema):
    """The next piece of the answer, never empty."""

    type: Literal["text"] = "text"
    text: str


class End(Schema):
    """The last event of an answer that is whole."""

    type: Literal["end"] = "end"
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int


class Failure(Schema):
    """The last event of an answer that is not: an error by its code and status."""

    type: Literal["failure"] = "failure"
    status: int
    code: str
    message: str
    param: str | None

    @classmethod
    def of(cls, error: TruthtuneError) -> "Failure":
        return cls(status=error.status, code=error.code, message=error.message, param=error.param)

    def error(self) -> TruthtuneError:
        made = TruthtuneError(self.message, code=self.code, param=self.param)
        made.status = self.status
        return made


Event = Annotated[Text | End | Failure, Field(discriminator="type")]
EVENT: TypeAdapter[Text | End | Failure] = TypeAdapter(Event)
