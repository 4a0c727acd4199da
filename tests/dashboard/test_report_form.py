"""What a person fills in becomes the report that they see, or a complaint beside its field."""

from typing import Any, get_args

import pytest

from api_schemas import examples
from api_schemas.errors import InvalidInput
from api_schemas.lexical import Feature
from api_schemas.reports import Report, ReportPut
from service.dashboard.group.report_form import (
    FEATURES,
    ReportForm,
    form_of,
    new_feature,
    read_form,
)

TRAINED = {"type": "trained", "reward_model_id": "rm_" + "0" * 26, "members": "mixture"}
LEXICAL = {
    "type": "lexical",
    "features": [
        {"type": "keywords", "words": ["please", "thank you"], "weight": 2.0, "cap": 3},
        {"type": "keywords", "words": ["Anna"], "case_sensitive": True},
        {"type": "regex", "pattern": r"(?i)\bas, an assistant\b", "weight": -1.5},
        {"type": "length", "target_words": 12, "tolerance_words": 8},
        {"type": "length", "target_words": 12},
        {"type": "sentiment", "weight": 0.1},
        {"type": "readability", "index": "lix"},
        {"type": "profanity"},
    ],
}
WITH_A_COMMA = {"type": "lexical", "features": [{"type": "keywords", "words": ["so, so"]}]}
FROM_DATA = {
    "type": "preference_data",
    "file_id": "file_" + "0" * 26,
    "method": {"name": "embedding"},
}


def _report(spec: dict[str, Any]) -> Report:
    return Report.model_validate(examples.REPORT | {"size": 3, "reward_model": spec})


def test_every_feature_and_all_of_its_fields_are_in_the_form() -> None:
    union, *_ = get_args(Feature)
    known = {schema.model_fields["type"].annotation: schema for schema in get_args(union)}
    assert {get_args(name)[0] for name in known} == set(FEATURES)
    for name, (schema, _, fields) in FEATURES.items():
        assert {"type", *(each.name for each in fields)} == set(schema.model_fields), name


@pytest.mark.parametrize(
    ("spec", "kind"),
    [(LEXICAL, "lexical"), (TRAINED, "trained"), (WITH_A_COMMA, "json"), (FROM_DATA, "json")],
)
def test_a_report_is_filled_in_so_that_it_would_be_reported_again(
    spec: dict[str, Any], kind: str
) -> None:
    report = _report(spec)
    form = form_of(report)
    assert form.kind == kind
    again = ReportPut.model_validate(form.body())
    assert (again.size, again.reward_model) == (3, report.reward_model)
    assert read_form(_sent(form)).body() == form.body()


def _sent(form: ReportForm) -> dict[str, str]:
    """As a browser sends it: a box that isn't ticked is left out."""
    rows = {
        f"features.{place}.{name}": value
        for place, row in enumerate(form.features)
        for name, value in row.items()
        if value or name != "case_sensitive"
    }
    named = {"reward_model_id": form.reward_model_id, "members": form.members}
    return {"size": form.size, "kind": form.kind, "json": form.json, **named, **rows}


@pytest.mark.parametrize("kind", list(FEATURES))
def test_a_new_row_says_what_the_schema_would(kind: str) -> None:
    row = new_feature(kind)
    schema, _, _ = FEATURES[kind]
    required = {"words": "a", "pattern": "a", "target_words": "1"}
    filled = {name: value or required.get(name, "") for name, value in row.items()}
    body = ReportForm(size="1", features=[filled]).body()
    given = {"type": kind, **{name: _typed(name) for name in required if name in row}}
    (feature,) = ReportPut.model_validate(body).reward_model.features  # type: ignore[union-attr]
    assert feature == schema.model_validate(given)  # type: ignore[attr-defined]


def _typed(name: str) -> Any:
    return {"words": ["a"], "pattern": "a", "target_words": 1}[name]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ('{"type": "lexical", "type": "lexical"}', "occurs twice"),
        ('{"weight": NaN}', "NaN is not JSON"),
        ('{"weight": 1e999}', "Out of range float"),
        ('"\\ud800"', "U\\+D800"),
    ],
)
def test_json_that_could_not_be_sent_is_named_at_its_field(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as refused:
        ReportForm(size="1", kind="json", json=text).body()
    assert refused.value.param == "json"


def test_what_is_no_number_goes_to_the_api_as_it_is() -> None:
    """Which then says so, with the field and the value."""
    row = new_feature("keywords") | {"words": "a", "weight": "nan", "cap": "many"}
    body = ReportForm(size="1e999", features=[row]).body()
    assert body["size"] == "1e999"
    assert body["reward_model"]["features"][0]["weight"] == "nan"
    assert body["reward_model"]["features"][0]["cap"] == "many"


@pytest.mark.parametrize(
    ("kind", "param", "field"),
    [
        ("lexical", "size", "size"),
        ("lexical", "reward_model.features[2].weight", "features.2.weight"),
        ("lexical", "reward_model.features[2].words[0]", "features.2.words"),
        ("lexical", "reward_model.features", None),
        ("trained", "reward_model.reward_model_id", "reward_model_id"),
        ("json", "reward_model.method.name", "json"),
        ("json", "json", "json"),
        ("json", None, None),
    ],
)
def test_a_complaint_finds_its_field(kind: str, param: str | None, field: str | None) -> None:
    assert ReportForm(kind=kind).field_of(param) == field  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{"kind": "oracle"}, {"features.0.type": "oracle"}])
def test_a_form_that_was_tampered_with_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="oracle"):
        read_form(fields)
