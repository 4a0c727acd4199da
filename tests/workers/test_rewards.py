"""Lexical reward models, and the interface that all reward models share."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api_schemas.errors import BadReport, InvalidInput
from api_schemas.lexical import LexicalSpec
from api_schemas.reward_models import PreferenceDataSpec, RewardModelSpec
from workers.rewards import registry
from workers.rewards.registry import FittedRewardModel, fit

SPECS: TypeAdapter[LexicalSpec | PreferenceDataSpec] = TypeAdapter(RewardModelSpec)
INDICES = ("automated_readability_index", "coleman_liau_index", "lix", "mcalpine_eflaw", "rix")


def no_file(file_id: str) -> bytes:
    raise AssertionError(f"a lexical model has no use for the file {file_id}")


def lexical(*features: dict[str, Any]) -> FittedRewardModel:
    return fit(SPECS.validate_python({"type": "lexical", "features": features}), no_file)


def scores(feature: dict[str, Any], *responses: str) -> list[float]:
    return list(map(float, lexical(feature).score([""] * len(responses), responses)))


def test_keywords_count_distinct_whole_words_up_to_the_cap() -> None:
    feature = {"type": "keywords", "words": ["please", "thank you", "!", "Sorry"], "cap": 2}
    found = scores(
        feature, "Please, please.", "pleased", "THANK YOU!", "sorry! please thank you", ""
    )
    assert found == [1 / 2, 0.0, 2 / 2, 2 / 2, 0.0]
    assert scores({**feature, "case_sensitive": True}, "sorry", "Sorry") == [0.0, 1 / 2]


def test_keywords_fewer_than_the_cap_reach_1_and_repeated_ones_count_once() -> None:
    feature = {"type": "keywords", "words": ["yes", "Yes", "Größe"], "cap": 5}
    assert scores(feature, "yes GRÖSSE", "yes größe", "größen") == [1 / 2, 2 / 2, 0.0]


def test_a_pattern_counts_matches_up_to_the_cap() -> None:
    feature = {"type": "regex", "pattern": r"(?i)\bno\b", "cap": 4, "weight": 2.0}
    assert scores(feature, "No, no.", "know", "no " * 9, "") == [2 * 2 / 4, 0.0, 2.0, 0.0]


def test_a_pattern_takes_linear_time_and_any_text() -> None:
    feature = {"type": "regex", "pattern": "(a*)*(b|$)x"}
    assert scores(feature, "a" * 50_000, "\ud800", "😀 bx") == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(\w)\1", r"invalid escape sequence: \1"),
        ("(?=a)", "invalid perl operator"),
        ("(open", "missing )"),
        (r"(\pL{100}\pN{100}){9}", "too large"),
    ],
)
def test_a_pattern_that_re2_refuses_is_named_with_the_reason(pattern: str, reason: str) -> None:
    features = [{"type": "sentiment"}, {"type": "regex", "pattern": pattern}]
    spec = SPECS.validate_python({"type": "lexical", "features": features})
    with pytest.raises(InvalidInput) as raised:
        registry.validate(spec)
    assert raised.value.param == "reward_model.features[1].pattern"
    assert reason in raised.value.message
    with pytest.raises(InvalidInput):
        fit(spec, no_file)


def test_length_falls_linearly_from_the_target() -> None:
    feature = {"type": "length", "target_words": 4, "tolerance_words": 2}
    assert scores(feature, "a b c d", "a b c", "a b c d e", "a b", "") == [1.0, 0.5, 0.5, 0.0, 0.0]
    assert scores({"type": "length", "target_words": 4}, "a b c") == [0.75]


def test_sentiment_and_profanity_order_obvious_texts() -> None:
    good, empty, bad = scores({"type": "sentiment"}, "I love this!", "", "I hate this!")
    assert good > empty == 0.5 > bad
    clean, empty, rude = scores(
        {"type": "profanity", "weight": 1.0}, "good morning", "", "fuck you"
    )
    assert rude > 0.9
    assert empty == pytest.approx(0.036, abs=0.01)
    assert clean < 0.1


@pytest.mark.parametrize("index", INDICES)
def test_readability_prefers_plain_text_and_gives_nothing_for_no_words(index: str) -> None:
    plain = "The dog ran. It was fun. We all went home."
    hard = (
        "Notwithstanding considerable epistemological uncertainty, interdisciplinary inquiries "
        "systematically demonstrate extraordinarily heterogeneous socioeconomic determinants, "
        "including institutional arrangements whose characteristics remain to be understood by us"
    )
    feature = {"type": "readability", "index": index}
    easy_score, hard_score, *wordless = scores(feature, plain, hard, "", "…!?")
    assert 1.0 >= easy_score > hard_score >= 0.0
    assert wordless == [0.0, 0.0]


EVERY_FEATURE: list[dict[str, Any]] = [
    {"type": "keywords", "words": ["a", "the"]},
    {"type": "regex", "pattern": r"\d", "cap": 3},
    {"type": "length", "target_words": 3},
    {"type": "sentiment"},
    {"type": "profanity", "weight": 1.0},
    *({"type": "readability", "index": index} for index in INDICES),
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=4))
def test_every_feature_of_every_text_is_in_0_to_1_and_independent_of_the_batch(
    responses: list[str],
) -> None:
    for feature in EVERY_FEATURE:
        model = lexical(feature)
        together = model.score([""] * len(responses), responses)
        assert ((together >= 0) & (together <= 1)).all()
        alone = [model.score([""], [response])[0] for response in responses]
        assert together.tolist() == alone


def test_a_lexical_score_is_the_weighted_sum_and_survives_saving() -> None:
    length = {"type": "length", "target_words": 2, "weight": 3.0}
    model = lexical(length, {"type": "regex", "pattern": "!", "weight": -1.5})
    found = model.score(["", ""], ["oh no!", "yes"])
    assert found.tolist() == [3.0 * 1 - 1.5 * 1, 3.0 * 0.5]
    restored = FittedRewardModel.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(restored.score(["", ""], ["oh no!", "yes"]), found)


def test_the_api_can_probe_a_lexical_model_without_the_training_libraries() -> None:
    program = (
        "import sys, workers.rewards.registry as r\n"
        "from api_schemas.lexical import LexicalSpec\n"
        "spec = LexicalSpec.model_validate({'type': 'lexical', 'features': [\n"
        "    {'type': 'keywords', 'words': ['a']}, {'type': 'regex', 'pattern': 'b'}]})\n"
        "assert r.fit(spec, None).score(['p'], ['a b']).tolist() == [2.0]\n"
        "heavy = {'torch', 'transformers', 'ray', 'sklearn', 'scipy', 'textstat', 'nltk'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "lexical", "features": []},
        {"type": "lexical", "features": [{"type": "sentiment", "weight": float("nan")}]},
        {"type": "lexical", "features": [{"type": "sentiment", "weight": float("inf")}]},
        {"type": "lexical", "features": [{"type": "sentiment"}] * 33},
        {"type": "lexical", "features": [{"type": "keywords", "words": [" "]}]},
        {"type": "lexical", "features": [{"type": "readability", "index": "flesch_reading_ease"}]},
        {"type": "lexical", "features": [{"type": "magic"}]},
        {"type": "unknown"},
        {"type": "preference_data", "file_id": "file_1"},
    ],
)
def test_a_spec_beyond_the_schema_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SPECS.validate_python(spec)


def test_a_model_that_returns_the_wrong_number_of_scores_is_a_bad_report() -> None:
    class Short:
        def score(self, prompts: Any, responses: Any) -> Any:
            return np.zeros(len(responses) - 1)

    broken = FittedRewardModel("short", Short(), None)  # type: ignore[arg-type]
    with pytest.raises(BadReport, match=r"shape \(1,\) for 2 responses"):
        broken.score(["p", "p"], ["a", "b"])
    with pytest.raises(ValueError, match="1 prompts but 2 responses"):
        broken.score(["p"], ["a", "b"])


def test_a_method_is_registered_once_and_an_unknown_one_is_refused() -> None:
    lexical_method = type(lexical(EVERY_FEATURE[0]).model)
    with pytest.raises(ValueError, match="'lexical' is registered twice"):
        registry.reward_model("lexical")(lexical_method)
    unknown = b'{"format": 2, "method": "oracle", "report_card": null}\n'
    with pytest.raises(InvalidInput, match=r"'oracle'; there are .*lexical, .*tfidf_bradley_terry"):
        FittedRewardModel.from_bytes(unknown)


def test_only_models_fitted_to_nothing_can_be_probed_when_they_are_reported() -> None:
    file_id = "file_" + "0" * 26
    method = {"name": "tfidf_bradley_terry"}
    fitted = {"type": "preference_data", "file_id": file_id, "method": method}
    assert not registry.can_be_probed(SPECS.validate_python(fitted))
    ready = {"type": "lexical", "features": EVERY_FEATURE}
    assert registry.can_be_probed(SPECS.validate_python(ready))
