"""Reward models that need no training: weighted features of the response's text."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from api_schemas.base import Schema

Weight = Annotated[
    float,
    Field(ge=-1e6, le=1e6, description="Multiplies the feature's value; negative to discourage."),
]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"\S")]


class KeywordsFeature(Schema):
    """Share of the words that occur: min(distinct words found, cap) / min(words, cap), in [0, 1].

    A word counts where no letter, digit or underscore touches its first or last letter.
    """

    type: Literal["keywords"]
    words: list[Word] = Field(min_length=1, max_length=500, description="Words or phrases.")
    weight: Weight = 1.0
    case_sensitive: bool = False
    cap: int = Field(5, ge=1, le=500, description="More distinct words than this add nothing.")


class RegexFeature(Schema):
    """Matches of an RE2 pattern, non-overlapping: min(matches, cap) / cap, in [0, 1]."""

    type: Literal["regex"]
    pattern: str = Field(
        min_length=1,
        max_length=1000,
        description="RE2 syntax: no backreferences or lookaround; `(?i)` ignores case.",
    )
    weight: Weight = 1.0
    cap: int = Field(1, ge=1, le=100, description="More matches than this add nothing.")


class LengthFeature(Schema):
    """Closeness to a length in words: max(0, 1 − |words − target| / tolerance), in [0, 1]."""

    type: Literal["length"]
    target_words: int = Field(ge=1, le=100_000)
    tolerance_words: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Words off the target where it falls to 0; null: target.",
    )
    weight: Weight = 1.0


class SentimentFeature(Schema):
    """VADER's compound sentiment c of English text as (1 + c)/2, in [0, 1]; empty text is 0.5."""

    type: Literal["sentiment"]
    weight: Weight = 1.0


ReadabilityIndex = Literal[
    "automated_readability_index",
    "coleman_liau_index",
    "lix",
    "mcalpine_eflaw",
    "rix",
]
"""Indices counted from letters, words and sentences. Syllable-based ones such as Flesch's need a
pronouncing dictionary that textstat downloads at the first use, so they are not offered."""


class ReadabilityFeature(Schema):
    """Ease of reading: 1 − index / hardest, clipped to [0, 1]; text without any word is 0.

    `hardest`: 20 (automated_readability_index, coleman_liau_index; school grades), 80 (lix),
    40 (mcalpine_eflaw), 12 (rix).
    """

    type: Literal["readability"]
    index: ReadabilityIndex = "automated_readability_index"
    weight: Weight = 1.0


class ProfanityFeature(Schema):
    """Probability of profanity in [0, 1] by a linear model over English words; weigh it < 0.

    Text without known words, also empty text, is at the model's base rate, about 0.04.
    """

    type: Literal["profanity"]
    weight: Weight = -1.0


Feature = Annotated[
    KeywordsFeature
    | RegexFeature
    | LengthFeature
    | SentimentFeature
    | ReadabilityFeature
    | ProfanityFeature,
    Field(discriminator="type"),
]


class LexicalSpec(Schema):
    """A weighted sum of features of the response; the prompt is not read."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "lexical",
                    "features": [
                        {"type": "keywords", "words": ["please", "thank you"], "weight": 2.0},
                        {"type": "regex", "pattern": r"(?i)\bas an assistant\b", "weight": -1.0},
                        {"type": "length", "target_words": 12, "tolerance_words": 8},
                    ],
                }
            ]
        }
    )

    type: Literal["lexical"]
    features: list[Feature] = Field(min_length=1, max_length=32)
