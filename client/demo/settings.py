"""What the demo announces and what its groups report: the numbers to turn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api_schemas.lexical import (
    KeywordsFeature,
    LengthFeature,
    LexicalSpec,
    RegexFeature,
    SentimentFeature,
)

DATA = Path(__file__).parent


@dataclass(frozen=True)
class DemoGroup:
    """A group reports `lexical`, or fits a reward model to the demo's preference pairs if null."""

    name: str
    size: int
    lexical: LexicalSpec | None


@dataclass(frozen=True)
class DemoRound:
    """`announcement` holds the fields of `RoundCreate` except the base model and the prompts."""

    prompts: Path
    preferences: Path
    groups: tuple[DemoGroup, ...]
    announcement: dict[str, Any]
    compared_prompts: tuple[str, str]
    least_gain_standard_errors: float | None
    """The tuned model's gain on fresh samples must be at least so many standard errors."""


PERSONAL = LexicalSpec(
    type="lexical",
    features=[
        RegexFeature(type="regex", pattern=r"(?i)\byou(r|rs|'re|'ll)?\b", cap=2, weight=1.0),
        SentimentFeature(type="sentiment", weight=0.3),
    ],
)
"""Speak to the reader, and kindly."""

PLAIN = LexicalSpec(
    type="lexical",
    features=[
        RegexFeature(type="regex", pattern=",", cap=2, weight=-1.0),
        RegexFeature(type="regex", pattern=r"(?i)\b(I|I'm|I'd|I've|my|me)\b", cap=2, weight=-0.5),
    ],
)
"""Sentences without commas, and nobody who talks of itself."""

SMOLLM2 = DemoRound(
    prompts=DATA / "prompts.jsonl",
    preferences=DATA / "preferences.jsonl",
    groups=(
        DemoGroup("teachers", 3, None),
        DemoGroup("hosts", 7, PERSONAL),
        DemoGroup("engineers", 5, PLAIN),
    ),
    announcement={
        "name": "Tone of a small assistant",
        "seed": 7,
        "pool": {
            "samples_per_prompt": 24,
            "holdout_samples_per_prompt": 6,
            "fresh_samples_per_prompt": 12,
        },
        "generation": {"max_new_tokens": 20},
        "regularizer": {"type": "kl", "coefficient": 1.25},
        "training": {
            "method": "policy_gradient",
            "steps": 12,
            "prompts_per_step": 4,
            "samples_per_prompt": 8,
            "learning_rate": 1.2e-3,
            "evaluate_every": 6,
        },
        "counterfactuals": "retrain",
        "max_group_size": 10,
        "price_per_unit_micro_units": 1_000_000,
        "currency": "EUR",
    },
    compared_prompts=("Give me one tip for a rainy day.", "What should I plant on a balcony?"),
    least_gain_standard_errors=2.0,
)

TINY = DemoRound(
    prompts=DATA / "tiny_prompts.jsonl",
    preferences=DATA / "tiny_preferences.jsonl",
    groups=(
        DemoGroup("sunbathers", 3, None),
        DemoGroup(
            "gardeners",
            7,
            LexicalSpec(
                type="lexical",
                features=[KeywordsFeature(type="keywords", words=["green", "rain"], weight=1.0)],
            ),
        ),
        DemoGroup(
            "painters",
            5,
            LexicalSpec(
                type="lexical",
                features=[
                    KeywordsFeature(type="keywords", words=["blue", "red"], weight=1.0),
                    LengthFeature(type="length", target_words=2, weight=0.5),
                ],
            ),
        ),
    ),
    announcement={
        "name": "Three words",
        "seed": 7,
        "pool": {
            "method": "enumerate",
            "holdout_samples_per_prompt": 32,
            "fresh_samples_per_prompt": 32,
        },
        "generation": {"max_new_tokens": 3},
        "regularizer": {"type": "kl", "coefficient": 2.0},
        "training": {
            "method": "policy_gradient",
            "steps": 8,
            "prompts_per_step": 4,
            "samples_per_prompt": 16,
            "learning_rate": 5e-3,
            "top_layers": None,
        },
        "counterfactuals": "retrain",
        "max_group_size": 10,
        "price_per_unit_micro_units": 1_000_000,
        "currency": "EUR",
    },
    compared_prompts=("red sun", "green rain"),
    least_gain_standard_errors=None,
)


def demo_round(base_model: str) -> DemoRound:
    """Every model but the tiny one, which knows five words, is asked in English."""
    return TINY if base_model == "tiny-enumerable" else SMOLLM2
