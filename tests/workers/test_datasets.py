"""Uploaded JSONL: what is wrong is said with its line."""

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.datasets import MAX_TEXT, PreferenceLine, PromptLine, parse_jsonl
from api_schemas.errors import InvalidInput

GOOD = b'{"prompt": "p", "chosen": "c", "rejected": "r"}\n'


def problem(*lines: bytes, model: Any = PreferenceLine) -> str:
    with pytest.raises(InvalidInput) as raised:
        parse_jsonl(lines, model)
    assert raised.value.param == "file"
    return raised.value.message


printable = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(printable, printable, printable), min_size=1, max_size=5))
def test_what_was_written_is_read_back_in_order(rows: list[tuple[str, str, str]]) -> None:
    records = [PreferenceLine(prompt=p, chosen=c, rejected=r) for p, c, r in rows]
    for ascii_only in (True, False):
        text = "\n".join(json.dumps(r.model_dump(), ensure_ascii=ascii_only) for r in records)
        assert parse_jsonl(io.BytesIO(text.encode()), PreferenceLine) == records


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "p", "rejected": "r"}', "chosen: field required"),
        (
            b'{"prompt": "", "chosen": "c", "rejected": "r"}',
            "prompt: string should have at least 1",
        ),
        (
            b'{"prompt": 5, "chosen": "c", "rejected": "r"}',
            "prompt: input should be a valid string",
        ),
        (b'{"prompt": "p", "chosen": "c", "rejected": "r", "x": 1}', "x: extra inputs"),
        (b'{"prompt": "p", "prompt": "q", "chosen": "c"}', "the key 'prompt' occurs twice"),
        (b'{"prompt": "p", "chosen": NaN}', "NaN is not JSON"),
        (b'{"prompt": "p\xff"}', "not UTF-8 at byte 14 of the line"),
        (b'{"prompt": "p"', "not JSON: Expecting ',' delimiter at column 15"),
        (b'["p"]', "a JSON object is expected, not list"),
        (b"null", "a JSON object is expected, not NoneType"),
        (b'{"prompt": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"prompt": ' + b"9" * 5000 + b"}", "integer string conversion"),
        (b'{"prompt": "\\ud800", "chosen": "c", "rejected": "r"}', "prompt: "),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_the_reason(line: bytes, reason: str) -> None:
    message = problem(GOOD, GOOD, line)
    assert message.startswith("line 3: ")
    assert reason in message


def test_blank_lines_are_passed_over_and_counted() -> None:
    assert len(parse_jsonl([GOOD, b"\n", b"  \r\n", GOOD], PreferenceLine)) == 2
    assert problem(GOOD, b"\n", b"{}").startswith("line 3: prompt: field required; chosen: ")


def test_a_byte_order_mark_is_allowed_at_the_start_only() -> None:
    mark = b"\xef\xbb\xbf"
    assert len(parse_jsonl([mark + GOOD, GOOD], PreferenceLine)) == 1 + 1
    assert problem(GOOD, mark + GOOD).startswith("line 2: not JSON")


@pytest.mark.parametrize("lines", [[], [b"\n", b" \n"]])
def test_a_file_without_lines_is_refused(lines: list[bytes]) -> None:
    assert problem(*lines) == "the file holds no line"


def test_five_problems_are_shown_and_then_reading_stops() -> None:
    message = problem(*[b"{"] * 5, b"\xff")
    assert [f"line {n}: " in message for n in range(1, 7)] == [True] * 5 + [False]
    assert message.endswith("later lines were not read")


def test_weights_are_on_all_lines_or_on_none() -> None:
    with_weight, without = b'{"prompt": "p", "weight": 2}', b'{"prompt": "q"}'
    weights = [line.weight for line in parse_jsonl([with_weight, with_weight], PromptLine)]
    assert weights == [2.0, 2.0]
    assert parse_jsonl([without], PromptLine)[0].weight is None
    message = problem(with_weight, b"\n", without, model=PromptLine)
    assert message == "line 3: weight is missing, but line 1 has one: give all or none"


@pytest.mark.parametrize("weight", [b"0", b"-1", b"1e999", b'"1"', b"true", b"2e9"])
def test_a_weight_is_a_positive_bounded_number(weight: bytes) -> None:
    line = b'{"prompt": "p", "weight": ' + weight + b"}"
    assert problem(line, model=PromptLine).startswith("line 1: weight: ")


def test_a_prompt_has_at_most_32768_characters() -> None:
    longest = json.dumps({"prompt": "ä" * MAX_TEXT}).encode()
    assert len(parse_jsonl([longest], PromptLine)) == 1
    too_long = json.dumps({"prompt": "ä" * (MAX_TEXT + 1)}).encode()
    assert "at most 32768 characters" in problem(too_long, model=PromptLine)
