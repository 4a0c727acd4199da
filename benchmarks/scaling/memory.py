"""Bytes that a round holds on a device and a host, and leaves on disk. docs/scale.md §5."""

from dataclasses import dataclass

from .passes import MAX_ROWS, Packed
from .shapes import FLOAT32, Shape
from .stages import NUMBER, RoundSize

ADAM = 4 * FLOAT32
"""Of a trained weight: itself, its gradient and two moments."""
ACTIVATIONS = (8, 4)
"""Numbers kept for the backward pass of a token and layer: so many times the hidden size, and the
intermediate size; a test counts them."""
LOGIT_COPIES = 6
"""Of one prompt's float32 logits: of both models, their logarithms, and gradients."""
HOST_COPIES = 2
"""Of a checkpoint on its way to disk: packed, and copied off the device."""


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on a training device: `weights` of the base model, `logits` of one prompt and world,
    the rest of all worlds together."""

    weights: float
    adapters: float
    activations: float
    logits: float
    cache: float

    @property
    def total(self) -> float:
        """Drawing's cache is gone before the gradient's activations are there."""
        return self.weights + self.adapters + max(self.activations + self.logits, self.cache)


def training(shape: Shape, size: RoundSize) -> DeviceMemory:
    """Of one worker that takes every prompt of the step."""
    worlds, adapters = size.trainings, size.adapters
    weights = shape.adapter_weights(adapters.rank, adapters.layers)
    packed = Packed.of(size.prompt_tokens, size.samples, size.tokens)
    tokens = worlds * size.step_prompts * packed.tokens
    rows = worlds * size.samples * max(1, MAX_ROWS // (worlds * size.samples))
    slots = size.prompt_tokens + size.tokens
    return DeviceMemory(
        weights=shape.weight_bytes,
        adapters=worlds * weights * ADAM,
        activations=tokens * adapters.layers * activation_bytes(shape),
        logits=LOGIT_COPIES * FLOAT32 * size.samples * size.tokens * shape.vocabulary,
        cache=rows * slots * shape.cache_bytes_a_token,
    )


def activation_bytes(shape: Shape) -> float:
    """Of a token and tuned layer. Beside bfloat16 each adapter keeps its input once more, in
    float32: six of the hidden size (q, k, v, o, gate, up) and one of the intermediate size."""
    hidden, intermediate = ACTIVATIONS
    kept = (hidden * shape.hidden + intermediate * shape.intermediate) * shape.number_bytes
    if shape.number_bytes == FLOAT32:
        return kept
    return kept + FLOAT32 * (6 * shape.hidden + shape.intermediate)


def checkpoint_bytes(shape: Shape, size: RoundSize) -> float:
    """A world's weights, two moments and best state."""
    weights = shape.adapter_weights(size.adapters.rank, size.adapters.layers)
    return 4 * FLOAT32 * weights * size.trainings


def stored_bytes(shape: Shape, size: RoundSize) -> dict[str, float]:
    """What the stages leave: as workers/quoting counts it, from sizes alone.

    A stored response takes its tokens as int64, its text (four letters a token) and its figures.
    """
    pool, holdout = size.prompts * size.responses, size.prompts * size.holdout
    response = size.tokens * (NUMBER + 4) + 3 * NUMBER
    adapter = FLOAT32 * shape.adapter_weights(size.adapters.rank, size.adapters.layers)
    models = size.candidates + 1
    return {
        "pool": 2.0 * (pool + holdout) * response,
        "scores": float(NUMBER * size.groups * (pool + holdout)),
        "log_probs": float(NUMBER * (models * pool + 2 * holdout)),
        "adapters": float(adapter * (size.trainings + 2)),
        "checkpoints": 2.0 * checkpoint_bytes(shape, size),
    }
