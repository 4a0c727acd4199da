"""What a model answers: its likeliest token at every place, for many questions in a batch."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence

import torch

from api_schemas.errors import InvalidInput
from workers.base_models import BaseModel, check_length
from workers.decoder import Decoder
from workers.language_models.local import sharpened
from workers.pool import refill
from workers.reward_training.network import RewardNetwork
from workers.rewards.adapter import read_adapter

_ANY = torch.zeros(1)


def tuned(base: BaseModel, adapter: Mapping[str, bytes]) -> Decoder:
    """The base with the adapter of a settled round on it, by the adapter's files as PEFT names
    them; the base itself stays as it is. Raises InvalidInput (`models`) for other files."""
    try:
        config = json.loads(adapter["adapter_config.json"])
        weights = adapter["adapter_model.safetensors"]
    except KeyError as error:
        raise InvalidInput(f"a tuned model lacks its file {error}", param="models") from None
    lora = read_adapter(
        weights,
        base,
        alpha=float(config["lora_alpha"]),
        use_rslora=bool(config.get("use_rslora")),
        with_score=False,
        param="models",
    )
    return RewardNetwork(base, [lora]).decoder


def greedy_answers(
    base: BaseModel,
    decoder: Decoder,
    questions: Sequence[str],
    max_new_tokens: int,
    on_answer: Callable[[int, int], None],
) -> list[str]:
    """One answer a question, of `max_new_tokens` at most. `on_answer` is told how many there are.

    Raises InvalidInput (`prompt_too_long`) for a question that leaves no room for so many.
    """
    prompts = [base.prompt_tokens(question) for question in questions]
    for place, prompt in enumerate(prompts):
        check_length(place, len(prompt), max_new_tokens, base.context_tokens)
    drawn = refill.draw(
        decoder,
        prompts,
        lambda _place: _ANY.expand(1, max_new_tokens),
        base.eos_token_ids,
        on_prompt=on_answer,
        pick=functools.partial(sharpened, 0.0, 1.0),
    )
    lengths = drawn.lengths_PJ[:, 0].tolist()
    rows = zip(drawn.tokens_PJT[:, 0].tolist(), lengths, strict=True)
    return [text.strip() for text in base.texts([row[:length] for row, length in rows])]
