"""The tokens of a request's prompt, as the sampling of a round has them.

A conversation of one user turn gives exactly the tokens that a round's prompt gives
(`BaseModel.prompt_tokens`), so that the playground shows what was trained.
"""

import jinja2

from api_schemas.errors import InvalidInput
from workers.base_models import BaseModel
from workers.serving.requests import GenerationRequest, Turn


def prompt_tokens(base: BaseModel, prompt: str | list[Turn]) -> list[int]:
    """Raises InvalidInput for a conversation that the model has no template for, or no tokens."""
    if isinstance(prompt, str):
        param, tokens = "prompt", list(base.tokenizer(prompt)["input_ids"])
    else:
        param, tokens = "messages", _conversation_tokens(base, prompt)
    if not tokens:
        raise InvalidInput(
            f"{param}: the model's tokenizer makes no token of it; write at least one word",
            code="empty_prompt",
            param=param,
        )
    return tokens


def answer_tokens(base: BaseModel, prompt: list[int], request: GenerationRequest) -> int:
    """How many tokens the answer may have. Raises InvalidInput if prompt and answer don't fit."""
    left = base.context_tokens - len(prompt)
    if left < 1 or (left < request.max_tokens and not request.may_shorten):
        raise InvalidInput(
            f"the prompt has {len(prompt)} tokens; with {request.max_tokens} to write that is "
            f"beyond the model's context of {base.context_tokens}",
            code="context_length_exceeded",
            param="prompt" if isinstance(request.prompt, str) else "messages",
        )
    return min(request.max_tokens, left)


def _conversation_tokens(base: BaseModel, turns: list[Turn]) -> list[int]:
    if len(turns) == 1 and turns[0].role == "user":
        return base.prompt_tokens(turns[0].content)
    if base.tokenizer.chat_template is None:
        raise InvalidInput(
            "messages: the base model has no chat template, so that it takes one message, of the "
            "user; or give its whole text as the prompt of /v1/completions",
            code="no_chat_template",
            param="messages",
        )
    try:
        text = base.tokenizer.apply_chat_template(
            [turn.model_dump() for turn in turns], add_generation_prompt=True, tokenize=False
        )
    except jinja2.TemplateError as error:  # templates refuse orders of roles in this way
        raise InvalidInput(
            f"messages: the model's chat template refuses them: {error}",
            code="messages_refused",
            param="messages",
        ) from error
    return list(base.tokenizer(text, add_special_tokens=False)["input_ids"])
