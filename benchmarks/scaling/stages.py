"""What every stage of a round does, by the round's sizes: workers/stages as formulas.

Nobody is excluded and no training stops early, as in workers/quoting, whose counts these are (a
test compares them); they are formulas here because its plan lists every world's weights, which at
10,000 groups is 800 MB. docs/scale.md §3.
"""

import math
from dataclasses import dataclass

from .passes import (
    Adapters,
    Packed,
    Work,
    b_weights,
    drawing,
    gradient,
    layers,
    log_probabilities,
    logits,
    response_gradients,
    rollouts,
)
from .shapes import Shape

ADAPTERS = Adapters(rank=16, layers=8)
"""As announced by default."""
NOTHING = Work()
NUMBER = 8
"""Bytes of a float64, in which rewards and log-probabilities are kept, and of a stored token."""


@dataclass(frozen=True)
class RoundSize:
    """n groups, X prompts of S tokens, responses of T: J in the pool, H held out, F fresh.

    A step takes P prompts, and on-policy G samples of each. `grid_steps` is of a soup's grid.
    """

    groups: int
    prompts: int = 256
    prompt_tokens: int = 128
    tokens: int = 128
    responses: int = 64
    holdout: int = 16
    fresh: int = 8
    steps: int = 50
    step_prompts: int = 16
    samples: int = 8
    evaluate_every: int = 10
    adapters: Adapters = ADAPTERS
    training: str = "policy_gradient"
    counterfactuals: str = "closed_form"
    counterfactual_steps: int = 10
    grid_steps: int = 4

    @property
    def trainings(self) -> int:
        """Models that are trained in one batch."""
        if self.counterfactuals == "soup":
            return self.groups
        return self.groups + 1 if self.counterfactuals in ("retrain", "early_stop") else 1

    @property
    def batches(self) -> list[tuple[int, int]]:
        """(steps, models) from the first step on."""
        if self.counterfactuals != "early_stop":
            return [(self.steps, self.trainings)]
        short = self.counterfactual_steps
        return [(short, self.trainings), (self.steps - short, 1)]

    @property
    def evaluated(self) -> int:
        """Held-out evaluations, summed over models."""
        without = self.trainings - 1
        short = self.counterfactual_steps if self.counterfactuals == "early_stop" else self.steps
        return self._evaluations(self.steps) + without * self._evaluations(short)

    @property
    def candidates(self) -> int:
        """Trained models, or mixes of them, that are valued beside the initial one."""
        if self.counterfactuals == "soup":
            return math.comb(self.groups + self.grid_steps - 1, self.grid_steps)
        return self.evaluated if self.counterfactuals == "checkpoints" else self.trainings

    def _evaluations(self, steps: int) -> int:
        return (steps - 1) // self.evaluate_every + 1


@dataclass(frozen=True)
class Stage:
    """`model`: work with the base model. `scored`: responses that some reward model scores."""

    model: Work = NOTHING
    scored: float = 0.0


def stages(shape: Shape, size: RoundSize) -> dict[str, Stage]:
    return {
        "sample_pool": sample_pool(shape, size),
        "score": Stage(scored=size.groups * size.prompts * (size.responses + size.holdout)),
        "solve": Stage(),
        "train": train(shape, size),
        "value": value(shape, size),
    }


def sample_pool(shape: Shape, size: RoundSize) -> Stage:
    pool, holdout = (
        drawing(shape, size.prompts, size.prompt_tokens, samples, size.tokens)
        for samples in (size.responses, size.holdout)
    )
    return Stage(model=pool + holdout)


def train(shape: Shape, size: RoundSize) -> Stage:
    """By the announced method; responses that are drawn meanwhile are scored."""
    evaluated = _held_out(shape, size)
    if size.training == "natural_gradient":
        return Stage(model=evaluated + _natural(shape, size))
    step = _policy_step if size.training == "policy_gradient" else _pool_step
    model = evaluated
    for steps, worlds in size.batches:
        model += step(shape, size, worlds) * steps
    if size.training == "pool_gradient":
        return Stage(model=model + _pool_once(shape, size))
    drawn = size.step_prompts * size.samples
    asked = sum(steps * _scorings(size, worlds) for steps, worlds in size.batches)
    return Stage(model=model, scored=asked * drawn)


def _scorings(size: RoundSize, worlds: int) -> int:
    """Reward models that are asked in a step: a world's responses go to all of its own groups."""
    if size.counterfactuals == "soup":
        return worlds
    return size.groups + (worlds - 1) * (size.groups - 1)


def _policy_step(shape: Shape, size: RoundSize, worlds: int) -> Work:
    """Draw in every world, the initial model's logits for the KL, forward and backward."""
    adapters, prompts, drawn = size.adapters, size.step_prompts, size.samples * size.tokens
    packed = Packed.of(size.prompt_tokens, size.samples, size.tokens)
    sampled = rollouts(
        shape, prompts, size.prompt_tokens, size.samples, size.tokens, worlds, adapters
    )
    initial = layers(shape, adapters.layers, packed.tokens, packed.pairs) + logits(shape, drawn)
    learnt = gradient(shape, packed, drawn, adapters, worlds)
    return sampled + initial * (worlds * prompts) + learnt * prompts


def _pool_step(shape: Shape, size: RoundSize, worlds: int) -> Work:
    packed = Packed.of(size.prompt_tokens, size.responses, size.tokens)
    positions = size.responses * size.tokens
    return gradient(shape, packed, positions, size.adapters, worlds) * size.step_prompts


def _pool_once(shape: Shape, size: RoundSize) -> Work:
    """The frozen layers' output and the initial model's log-probabilities of prompts met."""
    met = min(size.prompts, size.steps * size.step_prompts)
    return met * log_probabilities(
        shape, size.prompt_tokens, size.responses, size.tokens, 0, size.adapters
    )


def _natural(shape: Shape, size: RoundSize) -> Work:
    """Every response's gradient once; K = φ φᵀ of them all; a direction a world."""
    each = response_gradients(shape, size.prompt_tokens, size.responses, size.tokens, size.adapters)
    count, numbers = size.prompts * size.responses, b_weights(shape, size.adapters)
    directions = 2 * count * numbers * size.trainings
    return each * size.prompts + Work(flops=2 * count**2 * numbers + directions)


def _held_out(shape: Shape, size: RoundSize) -> Work:
    """The frozen layers and the initial model once, each model's own layers at each evaluation."""
    held = (shape, size.prompt_tokens, size.holdout, size.tokens)
    once = log_probabilities(*held, 0, size.adapters)
    each = log_probabilities(*held, 1, size.adapters, shared=False, initial=False)
    return (once + each * size.evaluated) * size.prompts


def value(shape: Shape, size: RoundSize) -> Stage:
    """All candidates on the pool, the delivered one on the held-out pool and on fresh samples."""
    prompt, tokens, adapters = size.prompt_tokens, size.tokens, size.adapters
    on_pool = log_probabilities(shape, prompt, size.responses, tokens, size.candidates, adapters)
    on_holdout = log_probabilities(shape, prompt, size.holdout, tokens, 1, adapters)
    along_fresh = log_probabilities(shape, prompt, size.fresh, tokens, 1, adapters)
    drawn = drawing(shape, size.prompts, prompt, size.fresh, tokens, adapters)
    return Stage(
        model=(on_pool + on_holdout + along_fresh) * size.prompts + drawn,
        scored=size.groups * size.prompts * size.fresh,
    )
