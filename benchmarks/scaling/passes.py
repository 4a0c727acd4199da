"""What a pass through a model does: its work as numbers that add up.

Each function has the formula of one thing that the code does: drawing from one model
(workers/pool/refill.py) or in all worlds (sampling.py), log-probabilities (logprobs.py), a gradient
(workers/training). docs/scale.md §2.
"""

import math
from dataclasses import dataclass

from .shapes import Shape

MAX_ROWS = 256
"""As in workers/pool/sampling.py."""
PREFILL_TOKENS = 1024
"""As in workers/pool/refill.py."""
ROW_TOKENS = 256
"""As in workers/pool/logprobs.py."""


@dataclass(frozen=True)
class Work:
    """`flops`: operations of matrix products; `logits`: numbers of logits that are gone through;
    `calls`: layers that are called, each with its kernels; `weight_bytes`: weights that are read;
    `cache_bytes`: keys and values that are read."""

    flops: float = 0.0
    logits: float = 0.0
    calls: float = 0.0
    weight_bytes: float = 0.0
    cache_bytes: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(self.numbers, other.numbers, strict=True)))

    def __mul__(self, times: float) -> "Work":
        return Work(*(times * a for a in self.numbers))

    __rmul__ = __mul__

    @property
    def numbers(self) -> tuple[float, float, float, float, float]:
        return self.flops, self.logits, self.calls, self.weight_bytes, self.cache_bytes


@dataclass(frozen=True)
class Adapters:
    """Rank r on the top ℓ layers."""

    rank: int
    layers: int


def layers(shape: Shape, count: int, tokens: float, pairs: float) -> Work:
    """One call of `count` layers; `pairs` are queries times the keys that each is given."""
    return Work(
        flops=count * shape.layer_flops(tokens, pairs),
        calls=count,
        weight_bytes=count * shape.layer_weights * shape.number_bytes,
    )


def logits(shape: Shape, positions: float) -> Work:
    head_bytes = shape.hidden * shape.vocabulary * shape.number_bytes
    return Work(shape.logit_flops(positions), shape.vocabulary * positions, 0, head_bytes)


@dataclass(frozen=True)
class Packed:
    """J responses of T tokens behind their prompt of S: in rows of at most ROW_TOKENS tokens.

    `tokens` and `pairs` are of all rows of one prompt; `rows` how many there are.
    """

    rows: int
    tokens: int
    pairs: int

    @classmethod
    def of(cls, prompt: int, responses: int, tokens: int) -> "Packed":
        each = max(1, ROW_TOKENS // tokens)
        sizes = [min(each, responses - start) for start in range(0, responses, each)]
        slots = [prompt + size * (tokens - 1) for size in sizes]
        return cls(len(slots), sum(slots), sum(slot**2 for slot in slots))


def _stepwise(
    shape: Shape, flops: float, decoded: Work, heads: Work, calls: int, keys: float
) -> Work:
    """Decoding reads all weights in every call, and the cached keys that a token looks at."""
    return Work(
        flops=flops,
        logits=heads.logits,
        calls=calls * shape.layers,
        weight_bytes=calls * (decoded.weight_bytes + heads.weight_bytes),
        cache_bytes=keys * shape.cache_bytes_a_token,
    )


def drawing(
    shape: Shape,
    prompts: int,
    prompt: int,
    samples: int,
    tokens: int,
    adapters: Adapters | None = None,
) -> Work:
    """T tokens of J samples to each of X prompts, of one model, in rows that are filled again.

    A prompt is prefilled once, and its first token's logits are all its samples'. MAX_ROWS rows go
    on together, T − 1 steps each; once they are filled again all their slots hold a token.
    """
    count, steps = prompts * samples, tokens - 1
    rows = min(MAX_ROWS, count)
    keys = rows * steps * (steps + 1) / 2 + (count - rows) * steps**2 + count * steps * prompt
    prefilled = layers(shape, shape.layers, prompts * prompt, prompts * prompt**2)
    decoded = layers(shape, shape.layers, count * steps, keys)
    heads = logits(shape, prompts + count * steps)
    calls = math.ceil(count / rows) * steps + math.ceil(prompts / max(1, PREFILL_TOKENS // prompt))
    tuned = prompts * prompt + count * steps
    low = shape.adapter_flops(adapters.rank, adapters.layers, tuned) if adapters else 0.0
    flops = prefilled.flops + decoded.flops + heads.flops + low
    return _stepwise(shape, flops, decoded, heads, calls, keys)


def rollouts(
    shape: Shape,
    prompts: int,
    prompt: int,
    samples: int,
    tokens: int,
    worlds: int,
    adapters: Adapters,
) -> Work:
    """T tokens of J samples to each of X prompts in each of K worlds, a batch drawn to its end.

    A prompt is prefilled once, its top layers once a world; then each of R = K·X·J rows goes
    through all layers T − 1 times, and its logits T times. Rows come MAX_ROWS at a time.
    """
    top = adapters.layers
    bottom = shape.layers - top
    at_once = max(1, MAX_ROWS // (worlds * samples))
    calls = math.ceil(prompts / at_once) * tokens
    rows, steps = worlds * prompts * samples, tokens - 1
    prefilled = layers(shape, bottom, prompts * prompt, prompts * prompt**2)
    prefilled += layers(shape, top, worlds * prompts * prompt, worlds * prompts * prompt**2)
    keys = rows * (steps * prompt + steps * (steps + 1) / 2)
    decoded = layers(shape, shape.layers, rows * steps, keys)
    heads = logits(shape, rows * tokens)
    tuned = worlds * prompts * prompt + rows * steps
    low = shape.adapter_flops(adapters.rank, top, tuned)
    flops = prefilled.flops + decoded.flops + heads.flops + low
    return _stepwise(shape, flops, decoded, heads, calls, keys)


def log_probabilities(
    shape: Shape,
    prompt: int,
    responses: int,
    tokens: int,
    models: int,
    adapters: Adapters,
    *,
    shared: bool = True,
    initial: bool = True,
) -> Work:
    """log π of one prompt's J responses under `models` worlds and the initial model.

    The frozen layers run once for all, unless their output is at hand (`shared` False); the top
    layers and the logits once a model.
    """
    packed = Packed.of(prompt, responses, tokens)
    every = models + (1 if initial else 0)
    bottom = shape.layers - adapters.layers
    work = layers(shape, adapters.layers, packed.tokens, packed.pairs) * every
    work += logits(shape, responses * tokens) * every
    work += Work(flops=shape.adapter_flops(adapters.rank, adapters.layers, packed.tokens)) * models
    if shared:
        work += layers(shape, bottom, packed.tokens, packed.pairs)
    return work


def gradient(
    shape: Shape, packed: Packed, positions: float, adapters: Adapters, worlds: float
) -> Work:
    """Forward and backward of K worlds through the top layers of rows whose bottom is at hand.

    A frozen weight takes as much backward as forward, for its input's gradient; so do the logits.
    An adapter and attention take twice as much backward, for both their factors have gradients.
    The lowest tuned layer's input has none, which saves q, k and v theirs.
    """
    tokens, top = packed.tokens, adapters.layers
    frozen = 2 * shape.layer_weights * tokens * top
    attention = top * shape.layer_flops(0, packed.pairs)
    low = shape.adapter_flops(adapters.rank, top, tokens)
    queries, keys = shape.heads * shape.head_size, shape.key_heads * shape.head_size
    saved = 2 * tokens * shape.hidden * (queries + 2 * keys + 3 * adapters.rank)
    heads = logits(shape, positions)
    one = Work(
        flops=2 * frozen + 3 * attention + 3 * low - saved + 2 * heads.flops,
        logits=2 * heads.logits,
        calls=3 * top,
        weight_bytes=2 * (top * shape.layer_weights * shape.number_bytes + heads.weight_bytes),
    )
    return one * worlds


def response_gradients(
    shape: Shape, prompt: int, responses: int, tokens: int, adapters: Adapters
) -> Work:
    """The gradient of each of J responses by all B, a row a response; the frozen layers once.

    As `gradient`, but for A's, and what q, k and v of the lowest tuned layer pass on to A.
    """
    slots = prompt + tokens - 1
    alone = Packed(responses, responses * slots, responses * slots**2)
    packed = Packed.of(prompt, responses, tokens)
    bottom = layers(shape, shape.layers - adapters.layers, packed.tokens, packed.pairs)
    of_a = adapters.layers * sum(inputs for inputs, _ in shape.linears)
    passed_on = sum(outputs for _, outputs in shape.linears[:3])
    saved = 2 * adapters.rank * (of_a + passed_on) * alone.tokens
    learnt = gradient(shape, alone, responses * tokens, adapters, 1)
    return bottom + learnt + Work(flops=-saved)


def b_weights(shape: Shape, adapters: Adapters) -> int:
    """D: of all B of one adapter."""
    return adapters.rank * adapters.layers * sum(outputs for _, outputs in shape.linears)
