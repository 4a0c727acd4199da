"""A reward model that needs no training: a weighted sum of features of the response's text.

r(x, y) = Σ_f weight_f · value_f(y),   every value in [0, 1], as `api_schemas.reward_models` says
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
import re2

from api_schemas.errors import InvalidInput
from api_schemas.lexical import (
    KeywordsFeature,
    LengthFeature,
    LexicalSpec,
    ProfanityFeature,
    ReadabilityFeature,
    ReadabilityIndex,
    RegexFeature,
    SentimentFeature,
)
from workers.mechanism.arrays import Floats
from workers.rewards.interfaces import FitContext
from workers.rewards.registry import reward_model
from workers.texts import in_utf8

PATTERN_MEMORY_BYTES = 1 << 20
"""Memory of one compiled pattern: bounds its size, and with it the time a character can take."""

HARDEST_TEXT: dict[ReadabilityIndex, float] = {
    "automated_readability_index": 20.0,
    "coleman_liau_index": 20.0,
    "lix": 80.0,
    "mcalpine_eflaw": 40.0,
    "rix": 12.0,
}
"""The index of a text that counts as hardest: beyond a college text on the index's own scale."""


@reward_model("lexical")
@dataclass(frozen=True)
class LexicalReward:
    """The spec is the model: it is its own saved form."""

    uses_model: ClassVar[bool] = False

    spec: LexicalSpec

    @classmethod
    def validate(cls, spec: LexicalSpec) -> None:
        """Raises InvalidInput naming the feature whose pattern RE2 refuses, and RE2's reason."""
        for index, feature in enumerate(spec.features):
            if isinstance(feature, RegexFeature):
                _check_pattern(feature.pattern, f"reward_model.features[{index}].pattern")

    @classmethod
    def build(cls, spec: LexicalSpec, context: FitContext) -> Self:
        return cls(spec)

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """The weighted sum for each response, shape (len(responses),); prompts are not read."""
        texts = in_utf8(responses)
        total = np.zeros(len(texts))
        for feature in self.spec.features:
            total += feature.weight * np.asarray(_VALUES[type(feature)](feature, texts), np.float64)
        return total

    def to_bytes(self) -> bytes:
        return self.spec.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls(LexicalSpec.model_validate_json(data))


def _check_pattern(pattern: str, param: str) -> None:
    try:
        _compiled(pattern)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if isinstance(error, re2.error) else "it is not valid Unicode"
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
        raise InvalidInput(f"{param}: RE2 refuses {pattern!r}: {reason}", param=param) from None


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = PATTERN_MEMORY_BYTES
    options.log_errors = False
    return re2.compile(pattern, options)


def _keywords(feature: KeywordsFeature, texts: Sequence[str]) -> list[float]:
    flags = 0 if feature.case_sensitive else re.IGNORECASE
    words = feature.words if feature.case_sensitive else [word.lower() for word in feature.words]
    distinct = sorted(set(words))
    patterns = [re.compile(_whole_word(word), flags) for word in distinct]
    most = min(len(distinct), feature.cap)
    return [
        min(sum(pattern.search(text) is not None for pattern in patterns), most) / most
        for text in texts
    ]


def _whole_word(word: str) -> str:
    """The word itself, not touched by word characters where it begins or ends with one."""
    before = r"(?<!\w)" if re.match(r"\w", word[0]) else ""
    after = r"(?!\w)" if re.match(r"\w", word[-1]) else ""
    return f"{before}{re.escape(word)}{after}"


def _regex(feature: RegexFeature, texts: Sequence[str]) -> list[float]:
    pattern = _compiled(feature.pattern)
    return [
        sum(1 for _ in itertools.islice(pattern.finditer(text), feature.cap)) / feature.cap
        for text in texts
    ]


def _length(feature: LengthFeature, texts: Sequence[str]) -> list[float]:
    tolerance = feature.tolerance_words or feature.target_words
    return [max(0.0, 1 - abs(len(t.split()) - feature.target_words) / tolerance) for t in texts]


def _sentiment(feature: SentimentFeature, texts: Sequence[str]) -> list[float]:
    analyzer = _sentiment_analyzer()
    return [(1 + analyzer.polarity_scores(text)["compound"]) / 2 for text in texts]


@cache
def _sentiment_analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def _readability(feature: ReadabilityFeature, texts: Sequence[str]) -> list[float]:
    import textstat

    index = getattr(textstat, feature.index)
    hardest = HARDEST_TEXT[feature.index]
    # An index of 0 would make empty responses the most readable ones.
    return [
        min(max(1 - index(text) / hardest, 0.0), 1.0) if any(map(str.isalnum, text)) else 0.0
        for text in texts
    ]


def _profanity(feature: ProfanityFeature, texts: Sequence[str]) -> Floats:
    if not texts:
        return np.zeros(0)
    from profanity_check import predict_prob

    return np.asarray(predict_prob(list(texts)), dtype=np.float64)


_VALUES: dict[type, Callable[[Any, Sequence[str]], Sequence[float] | Floats]] = {
    KeywordsFeature: _keywords,
    RegexFeature: _regex,
    LengthFeature: _length,
    SentimentFeature: _sentiment,
    ReadabilityFeature: _readability,
    ProfanityFeature: _profanity,
}
