"""The form of a report: fields as a person fills them in, and the JSON that the API takes.

What is wrong with a value is for the API to say; here is only what no JSON could be made of.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

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
from api_schemas.reports import Report
from api_schemas.reward_models import TrainedSpec
from api_schemas.strict_json import parse_json
from service.dashboard.forms import number_of

Kind = Literal["lexical", "trained", "json"]
FeatureRow = dict[str, str]


@dataclass(frozen=True)
class FeatureField:
    name: str
    label: str
    kind: Literal["text", "words", "number", "flag", "choice"] = "text"
    choices: tuple[str, ...] = ()


_WEIGHT = FeatureField("weight", "Weight, negative to discourage", "number")
FEATURES: Mapping[str, tuple[type, str, tuple[FeatureField, ...]]] = {
    "keywords": (
        KeywordsFeature,
        "Words that occur",
        (
            FeatureField("words", "Words or phrases, with commas between", "words"),
            FeatureField("cap", "How many of them count at most", "number"),
            FeatureField("case_sensitive", "Capital letters matter", "flag"),
            _WEIGHT,
        ),
    ),
    "length": (
        LengthFeature,
        "Length near a target",
        (
            FeatureField("target_words", "Target, in words", "number"),
            FeatureField("tolerance_words", "Words off where it is worth nothing", "number"),
            _WEIGHT,
        ),
    ),
    "sentiment": (SentimentFeature, "Friendly tone", (_WEIGHT,)),
    "readability": (
        ReadabilityFeature,
        "Easy to read",
        (FeatureField("index", "Index", "choice", get_args(ReadabilityIndex)), _WEIGHT),
    ),
    "profanity": (ProfanityFeature, "Swearing", (_WEIGHT,)),
    "regex": (
        RegexFeature,
        "A pattern that matches",
        (
            FeatureField("pattern", "RE2 pattern", "text"),
            FeatureField("cap", "Matches that count at most", "number"),
            _WEIGHT,
        ),
    ),
}
"""Every feature of a lexical reward model: its schema, its name for people, its fields."""


@dataclass
class ReportForm:
    """Texts as they stand in the form."""

    size: str = ""
    kind: Kind = "lexical"
    features: list[FeatureRow] = field(default_factory=list)
    reward_model_id: str = ""
    members: str = "aggregate"
    json: str = ""

    def add(self, kind: str) -> None:
        self.features.append(new_feature(kind))

    def remove(self, place: int) -> None:
        del self.features[place : place + 1]

    def body(self) -> dict[str, Any]:
        """What the API is asked with. Raises InvalidInput for JSON that is none."""
        return {"size": number_of(self.size), "reward_model": self._reward_model()}

    def _reward_model(self) -> Any:
        if self.kind == "lexical":
            return {"type": "lexical", "features": [_feature(row) for row in self.features]}
        if self.kind == "trained":
            named = {"reward_model_id": self.reward_model_id, "members": self.members}
            return {"type": "trained", **named}
        return _parsed(self.json)

    def field_of(self, param: str | None) -> str | None:
        """The id of the form's field that a problem's `param` names; None: it has no such field."""
        if param is None:
            return None
        if param == "size":
            return "size"
        if self.kind == "json":
            return "json" if param == "json" or param.startswith("reward_model") else None
        if self.kind == "trained":
            return "reward_model_id" if param.startswith("reward_model") else None
        found = re.match(r"reward_model\.features\[(\d+)\]\.(\w+)", param)
        return f"features.{found[1]}.{found[2]}" if found else None


def new_feature(kind: str) -> FeatureRow:
    """A row as the schema's defaults fill it."""
    schema, _, fields = FEATURES[kind]
    known = getattr(schema, "model_fields")  # noqa: B009 (all are pydantic models)
    defaults = {each.name: known[each.name] for each in fields}
    shown = {
        name: "" if found.is_required() or found.default is None else _text(found.default)
        for name, found in defaults.items()
    }
    return {"type": kind, **shown}


def new_form() -> ReportForm:
    return ReportForm(features=[new_feature("keywords")])


def read_form(texts: Mapping[str, str]) -> ReportForm:
    """The form as it was sent. Raises InvalidInput for a kind that it has no field for."""
    kind = texts.get("kind", "lexical")
    if kind not in get_args(Kind):
        raise InvalidInput(f"there is no kind {kind!r} of a reward model here", param="kind")
    return ReportForm(
        size=texts.get("size", ""),
        kind=kind,  # type: ignore[arg-type]  # it is one of these
        features=_rows(texts),
        reward_model_id=texts.get("reward_model_id", ""),
        members=texts.get("members", "aggregate"),
        json=texts.get("json", ""),
    )


def form_of(report: Report) -> ReportForm:
    """The form that would report the same again."""
    spec, size = report.reward_model, str(report.size)
    if isinstance(spec, TrainedSpec):
        return ReportForm(size, "trained", [], spec.reward_model_id, spec.members)
    if isinstance(spec, LexicalSpec) and not _has_a_comma(spec):
        rows = [_row(each.model_dump(mode="json")) for each in spec.features]
        return ReportForm(size, "lexical", rows)
    shown = json.dumps(spec.model_dump(mode="json"), indent=2, ensure_ascii=False)
    return ReportForm(size, "json", json=shown)


def _has_a_comma(spec: LexicalSpec) -> bool:
    """Within a word: the form's field could not tell it from the commas between words."""
    lists = (each.words for each in spec.features if isinstance(each, KeywordsFeature))
    return any("," in word for words in lists for word in words)


def _rows(texts: Mapping[str, str]) -> list[FeatureRow]:
    """From `features.0.type`, `features.0.words`, …"""
    found: dict[int, FeatureRow] = {}
    for name, value in texts.items():
        if match := re.fullmatch(r"features\.(\d{1,3})\.(\w+)", name):
            found.setdefault(int(match[1]), {})[match[2]] = value
    rows = [found[place] for place in sorted(found)]
    for row in rows:
        if row.get("type") not in FEATURES:
            raise InvalidInput(f"there is no feature {row.get('type')!r}", param="features")
    return rows


def _row(feature: Mapping[str, Any]) -> FeatureRow:
    return {name: _text(value) for name, value in feature.items() if value is not None}


def _feature(row: FeatureRow) -> dict[str, Any]:
    """Fields that were left empty are left out: the API has a default, or says what is missing."""
    _, _, fields = FEATURES[row["type"]]
    read = {each.name: _read(each, row.get(each.name, "").strip()) for each in fields}
    return {"type": row["type"], **{name: value for name, value in read.items() if value != ""}}


def _read(known: FeatureField, text: str) -> Any:
    if known.kind == "flag":
        return text == "true"
    if known.kind == "words":
        return [word.strip() for word in text.split(",") if word.strip()]
    return number_of(text) if known.kind == "number" else text


def _parsed(text: str) -> Any:
    """Raises InvalidInput also for what JSON can say and not carry: 1e999, half a character."""
    try:
        value = parse_json(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"U+{ord(error.object[error.start]):04X} is half a character", param="json"
        ) from None
    except ValueError as error:
        raise InvalidInput(str(error), param="json") from None
    return value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, bool):
        return "true" if value else ""
    return f"{value:g}" if isinstance(value, float) else str(value)
