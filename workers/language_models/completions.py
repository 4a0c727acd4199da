"""The bodies of OpenAI's chat completions: what is sent, and what is read of what comes."""

import json
from typing import Any

from api_schemas.language_models import EndpointAccess
from workers.language_models.chat import ChatRequest, Reply
from workers.language_models.choices import with_words
from workers.language_models.meter import Usage

_FILTERED = ("content_filter", "content_policy_violation")
"""What a refusal calls itself that is one of these words, and not of the account or the model."""


def text_of(first: dict[str, Any]) -> str | None:
    """None where the model refused, or a filter took what it wrote."""
    if first.get("finish_reason") == "content_filter":
        return None
    text = first["message"]["content"]
    if text is not None and not isinstance(text, str):
        raise TypeError(f"content is {type(text).__name__}, not a string")
    return text


def no_reply(taken: Usage) -> Reply:
    """Recorded like any other, so that it is not asked for again; whoever wants a text drops it."""
    return Reply("", None, taken.prompt_tokens, taken.completion_tokens, complete=False)


def is_filtered(body: bytes) -> bool:
    try:
        error = json.loads(body)["error"]
        return error.get("code") in _FILTERED or error.get("type") in _FILTERED
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def body_of(endpoint: EndpointAccess, model: str, request: ChatRequest) -> dict[str, Any]:
    asked = with_words(request)
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": each.role, "content": each.content} for each in asked.messages],
        endpoint.max_tokens_field: asked.max_tokens + endpoint.thought_tokens,
    }
    if not endpoint.temperature:
        return body
    body["temperature"] = asked.temperature
    if asked.top_p < 1:
        body["top_p"] = asked.top_p
    if asked.temperature > 0:  # at 0 nothing is drawn, and some servers refuse what they don't know
        body["seed"] = asked.sample
    return body


def usage_of(told: Any) -> tuple[int, int] | None:
    """(prompt, completion) tokens; None unless both are told."""
    if not isinstance(told, dict):
        return None
    found = told.get("prompt_tokens"), told.get("completion_tokens")
    prompt, completion = (
        each if type(each) is int and 0 <= each < 2**53 else None for each in found
    )
    return None if prompt is None or completion is None else (prompt, completion)
