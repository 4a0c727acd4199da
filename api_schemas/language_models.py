"""Language models that write and judge texts: generators, teachers, judges; and what they spend."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from api_schemas.base import Schema
from api_schemas.preference_methods import BaseModelName

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
EndpointName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class EndpointModel(Schema):
    """A model behind an OpenAI-compatible endpoint that the operator allows."""

    type: Literal["endpoint"]
    endpoint: EndpointName = Field(description="A name of the operator's list.")
    model: str = Field(min_length=1, max_length=200)


class LocalModel(Schema):
    """A base model that the service runs itself."""

    type: Literal["local"]
    base_model: BaseModelName


LanguageModelSpec = Annotated[EndpointModel | LocalModel, Field(discriminator="type")]


class Budget(Schema):
    """What language models may take at most. A run that meets a limit stops, and can go on."""

    max_tokens: int = Field(
        2_000_000,
        ge=1,
        le=10**12,
        strict=True,
        description="Of prompts and completions, local models' too.",
    )
    max_cost_micro_units: int | None = Field(
        None,
        ge=0,
        le=10**15,
        strict=True,
        description="In millionths of the currency that the endpoints are priced in; null: only "
        "tokens are limited.",
    )


class Spent(Schema):
    """What calls of language models took, in this run and those that it went on from."""

    calls: int = Field(0, ge=0, description="Replies that were bought.")
    replayed: int = Field(
        0, ge=0, description="Replies that were recorded before; they cost nothing."
    )
    prompt_tokens: int = Field(0, ge=0)
    completion_tokens: int = Field(0, ge=0)
    cost_micro_units: int = Field(0, ge=0)
    currency: Currency | None = Field(None, description="Null where nothing has a price.")


class EndpointAccess(Schema):
    """An endpoint of the operator's list, with its key, as a worker gets it. Never stored."""

    name: EndpointName
    url: str = Field(description="Base URL, such as `https://api.openai.com/v1`.")
    key: str | None = Field(None, repr=False)
    models: list[str] = Field(min_length=1)
    concurrency: int = Field(4, ge=1, le=256)
    timeout_seconds: float = Field(60, gt=0)
    attempts: int = Field(5, ge=1, le=20, description="Of one call, the first included.")
    prompt_price: int = Field(
        0, ge=0, description="Of a million tokens, in millionths of the currency."
    )
    completion_price: int = Field(
        0, ge=0, description="Of a million tokens, in millionths of the currency."
    )
    currency: Currency | None = None
    groups_may_use: bool = Field(False, description="Whether groups' judges may ask it.")
    reward_model_tokens: int = Field(
        1_000_000,
        ge=1,
        description="That all judges of a group may take of this endpoint, for ever. Raise it to "
        "let a group go on.",
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What a request calls the most that may be written."
    )
    thought_tokens: int = Field(
        0,
        ge=0,
        le=10**6,
        description="Asked for besides, where thoughts that are not shown count in that most.",
    )
    temperature: bool = Field(
        True, description="Whether a request may have `temperature`, `top_p` and `seed`."
    )
    key_missing: bool = Field(
        False, description="Its key could not be read: it can't be asked until that is mended."
    )
