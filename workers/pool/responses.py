"""What is asked of a sampler, and what it gives."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Wanted:
    """J responses of at most T tokens to each of P prompts, at temperature 1.

    `labels_P` are what seeds each prompt's draws: the announced seed, the pool, the prompt's place
    in the round. With the prompt and the response's place they decide a response, so that it is the
    same however prompts are spread over workers and whatever is drawn beside it, up to rounding.
    """

    prompts: list[list[int]]
    labels_P: list[tuple[object, ...]]
    samples: int
    max_new_tokens: int


@dataclass(frozen=True, eq=False)
class Responses:
    """On the CPU; tokens are 0 after a response's end, which is its last token or the limit."""

    tokens_PJT: Tensor
    lengths_PJ: Tensor
