"""Who draws the initial model's responses: our own sampler, or vLLM on a GPU.

Either gives tokens alone. Their probabilities are never a sampler's word: what is paid depends on
log π(y|x) of the pool, which `workers.pool.logprobs` computes for all models alike.
"""

from collections.abc import Callable
from typing import Literal, Protocol

from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.pool import refill
from workers.pool.randomness import uniforms
from workers.pool.responses import Responses, Wanted

SamplerName = Literal["torch", "vllm"]

OnPrompt = Callable[[int, int], None]
"""Told how many prompts have all their responses, and of how many."""


class Sampler(Protocol):
    def draw(self, base: BaseModel, wanted: Wanted, on_prompt: OnPrompt) -> Responses:
        """Draw from the base model itself."""


class TorchSampler:
    """Runs everywhere; a token is the base model's distribution inverted at one uniform number."""

    def draw(self, base: BaseModel, wanted: Wanted, on_prompt: OnPrompt) -> Responses:
        shape = (wanted.samples, wanted.max_new_tokens)
        return refill.draw(
            Decoder(base.model),
            wanted.prompts,
            lambda p: uniforms(shape, *wanted.labels_P[p]),
            base.eos_token_ids,
            on_prompt=on_prompt,
        )


def sampler_named(name: SamplerName) -> Sampler:
    """Raises Unavailable if what it needs isn't on this machine."""
    if name == "torch":
        return TorchSampler()
    from workers.pool.vllm_sampler import VLLMSampler  # vLLM is imported where it was chosen

    return VLLMSampler()
