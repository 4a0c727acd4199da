"""What a report may name as its reward model, and the report card of a fitted one."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from api_schemas.base import Schema
from api_schemas.ids import FileId

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


class TfidfBradleyTerry(Schema):
    """Bradley-Terry model on TF-IDF of the response's words and word pairs; seconds on a CPU.

    P(chosen preferred) = σ(w · (tfidf(chosen) − tfidf(rejected))). It minimises
    Σ log loss + (regularization/2)·‖w‖² over the pairs.
    """

    name: Literal["tfidf_bradley_terry"]
    regularization: float = Field(1.0, gt=0, le=1e6, description="Larger: weights nearer 0.")
    max_features: int = Field(50_000, ge=1, le=1_000_000, description="The most frequent terms.")
    holdout_share: float = Field(
        0.2, gt=0, lt=1, description="Share of prompts held out to measure accuracy."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Draws the held-out prompts.")


class PreferenceDataSpec(Schema):
    """A reward model fitted to preference pairs: a file of `{"prompt", "chosen", "rejected"}`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "preference_data",
                    "file_id": "file_01jd2m8x3k5v7w9y0a1b2c3d4e",
                    "method": {"name": "tfidf_bradley_terry", "regularization": 1.0},
                }
            ]
        }
    )

    type: Literal["preference_data"]
    file_id: FileId
    method: TfidfBradleyTerry


RewardModelSpec = Annotated[LexicalSpec | PreferenceDataSpec, Field(discriminator="type")]
"""The reward model of a report; its raw scores, of any scale, are normalised on the pool."""


class ReportCard(Schema):
    """How well a reward model fitted to preference pairs agrees with pairs it has not seen."""

    n_pairs: int = Field(description="Distinct pairs used; the final model is fitted to all.")
    n_prompts: int
    n_duplicates_dropped: int = Field(description="Repetitions of the same prompt and pair.")
    n_ties_dropped: int = Field(description="Pairs whose chosen and rejected texts are the same.")
    n_train: int = Field(description="Pairs of the model that was scored on the held-out ones.")
    n_holdout: int = Field(description="Pairs of the held-out prompts.")
    accuracy: float | None = Field(
        description="Share of held-out pairs ranked right, equal scores counting one half; "
        "null where too few pairs could be held out."
    )
    accuracy_standard_error: float | None = Field(
        description="Clustered by prompt; null with the accuracy, or with one held-out prompt. It "
        "is 0 if all held-out pairs are ranked alike: n right ones only show about 1 − 3/n or more."
    )
    note: str | None = Field(description="Why the accuracy is null.")
