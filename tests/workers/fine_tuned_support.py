"""Preferences on the six-word model whose truth is planted, and fits of methods to them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from api_schemas.preference_methods import BradleyTerry, PreferenceMethod
from api_schemas.reward_models import PinnedInputs
from workers import base_models, tiny_model
from workers.base_models import BaseModel
from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Comparison, Split
from workers.rewards.interfaces import Fit, FitContext, RewardModel
from workers.rewards.registry import fit_method

WORTH = dict(zip(tiny_model.WORDS, (2.0, 1.0, 0.0, -1.0, -2.0), strict=True))
REVISION = base_models.resolve(tiny_model.NAME).revision


def tiny_base() -> BaseModel:
    return base_models.load(tiny_model.NAME, REVISION, "cpu")


def context(**files: bytes) -> FitContext:
    return FitContext(files.__getitem__, PinnedInputs(base_models={tiny_model.NAME: REVISION}))


def worth(text: str) -> float:
    """The planted reward: a sum over words."""
    return sum(WORTH[word] for word in text.split())


def a_text(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(tiny_model.WORDS, rng.integers(1, 5)))


def texts(count: int) -> tuple[list[str], list[str]]:
    """Prompts, seven of them over and over, and responses."""
    rng = np.random.default_rng(5)
    prompts = [a_text(rng) for _ in range(7)]
    return [prompts[i % 7] for i in range(count)], [a_text(rng) for _ in range(count)]


def planted(
    count: int, seed: int = 0, temperature: float = 0.0, least: float = 0.5
) -> list[Comparison]:
    """Pairs whose worth differs by `least` or more.

    With a temperature T the label is drawn: P(the better is chosen) = σ(difference/T).
    """
    rng = np.random.default_rng(seed)
    found: list[Comparison] = []
    while len(found) < count:
        prompt, better, worse = a_text(rng), a_text(rng), a_text(rng)
        difference = worth(better) - worth(worse)
        if difference < least:
            continue
        if temperature and rng.random() > 1 / (1 + np.exp(-difference / temperature)):
            better, worse = worse, better
        found.append(Comparison(prompt, better, worse))
    return found


def split(count: int = 700, holdout: int = 150, **how: Any) -> Split:
    pairs = planted(count, **how)
    return Split(pairs[holdout:], pairs[:holdout])


def bradley_terry(**settings: Any) -> BradleyTerry:
    told = {"top_layers": 2, "epochs": 4, "learning_rate": 0.005, **settings}
    return BradleyTerry.model_validate(
        {"name": "bradley_terry", "base_model": tiny_model.NAME, **told}
    )


def fitted(method: PreferenceMethod, data: Split, **files: bytes) -> Fit:
    return fit_method(method, data, context(**files))


def differences(model: RewardModel, pairs: Sequence[Comparison]) -> Floats:
    prompts = [each.prompt for each in pairs]
    chosen = model.score(prompts, [each.chosen for each in pairs])
    return chosen - model.score(prompts, [each.rejected for each in pairs])


def accuracy(model: RewardModel, pairs: Sequence[Comparison]) -> float:
    return float((differences(model, pairs) > 0).mean())
