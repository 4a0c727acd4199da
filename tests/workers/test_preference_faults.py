"""Preference files that can't be read: the line and the reason are named, and no more is read."""

import csv
import gzip
import io
import json
from typing import Any

import pytest

from api_schemas.datasets import MAX_TEXT
from api_schemas.errors import InvalidInput
from workers.preferences.formats import read_preferences, validate_preferences

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}
VOTES = {"prompt": "p", "responses": ["c", "r"], "votes": [3, 1]}


def fault(data: bytes) -> str:
    with pytest.raises(InvalidInput) as raised:
        read_preferences(io.BytesIO(data))
    assert raised.value.param == "file"
    return raised.value.message


def fault_in(*lines: Any) -> str:
    return fault(b"\n".join(json.dumps(line).encode() for line in lines))


def test_a_file_of_dirt_alone_is_refused() -> None:
    message = fault_in(PAIR | {"chosen": ""}, PAIR | {"chosen": "r"})
    assert message.startswith("no line holds a pair that can be used: line 1: a reply is empty")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"prompt": "p", "chosen": "c"}, "rejected: field required"),
        ({"question": "p"}, "no known field: expected prompt, chosen, rejected; or "),
        (PAIR | {"rating": 3}, "rating: extra inputs"),
        (PAIR | {"chosen": ["c"]}, "chosen: input should be a valid string"),
        (PAIR | {"prompt": ""}, "prompt: string should have at least 1"),
        (PAIR | {"prompt": None}, "prompt: input should be a valid string"),
        (PAIR | {"margin": -0.1}, "margin: input should be greater than or equal to 0"),
        (PAIR | {"margin": "much"}, "margin: input should be a valid number"),
        (PAIR | {"split": "valid"}, "split: input should be 'train' or 'test'"),
        (PAIR | {"chosen": "c" * (MAX_TEXT + 1)}, "chosen: string should have at most 32768"),
        (VOTES | {"votes": [3]}, "votes: list should have at least 2 items"),
        (VOTES | {"votes": [3, 1, 1]}, "votes: list should have at most 2 items"),
        (VOTES | {"votes": [-1, 2]}, "votes.0: input should be greater than or equal to 0"),
        (VOTES | {"votes": [True, 2]}, "votes.0: input should be a valid number"),
        (VOTES | {"votes": [0, 0]}, "votes: there is no vote at all"),
        (VOTES | {"votes": [2.5, 1]}, "votes: 2.5 + 1 + 0 are neither whole numbers nor"),
        (VOTES | {"votes": [0.6, 0.2]}, "nor fractions that sum to 1"),
        (VOTES | {"votes": [1e300, 1]}, "votes.0: input should be less than or equal to"),
        (VOTES | {"responses": ["c"]}, "responses: list should have at least 2 items"),
        (VOTES | {"tied_votes": -1}, "tied_votes: input should be greater"),
        (VOTES | {"chosen": "c"}, "chosen: extra inputs"),
        ({"prompt": "p", "votes": [1, 2]}, "responses: field required"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_with_the_field(line: Any, reason: str) -> None:
    first = VOTES if {"votes", "responses"} & set(line) else PAIR
    message = fault_in(first, line)
    assert message.startswith("line 2: ")
    assert reason in message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "line 3: not JSON"),
        (b'{"prompt": "\xff"}', "line 3: not UTF-8 at byte 13"),
        (b'{"prompt": "p", "votes": [NaN, 1]}', "line 3: NaN is not JSON"),
        (b'{"prompt": "p", "responses": ["a", "b"], "votes": [1e999, 1]}', "line 3: votes.0"),
        (b"[1]", "line 3: a JSON object is expected"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(line: bytes, reason: str) -> None:
    assert fault(b'{"prompt": "p", "chosen": "c", "rejected": "r"}\n\n' + line).startswith(reason)


def test_five_bad_lines_are_named_and_then_reading_stops() -> None:
    message = fault_in(*[{"prompt": "p"}] * 7)
    assert [f"line {n}: " in message for n in range(1, 8)] == [True] * 5 + [False] * 2
    assert message.endswith("later lines were not read")


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (PAIR | {"split": "test"}, PAIR, "split is missing, but line 1 has it"),
        (PAIR, PAIR | {"margin": 1}, "margin is given, but line 1 lacks it"),
        (PAIR, {"chosen": "c", "rejected": "r"}, "prompt is missing, but line 1 has it"),
        (PAIR, VOTES, "chosen is missing, but line 1 has it"),
    ],
)
def test_all_lines_must_give_the_same_fields(
    first: dict[str, Any], second: dict[str, Any], reason: str
) -> None:
    assert fault_in(first, second).startswith(f"line 2: {reason}")


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_any_line_is_refused(data: bytes) -> None:
    assert fault(data) == "the file holds no line"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rank,funny\n1,2\n", "not JSON lines, and as CSV the header has the columns 'rank', 'fu"),
        ('[{"prompt": "p"}]', "not JSON lines, and as CSV the header has the columns"),
        ("prompt;chosen;rejected\n", "the columns 'prompt;chosen;rejected'; expected are prompt, "),
        ("prompt,chosen,chosen,rejected\n", "'chosen' occurs twice"),
        ("prompt,chosen,rejected\n", "the file holds no line"),
        ("prompt,chosen,rejected\np,c\n", "line 2: 2 cells, but the header has 3"),
        ('prompt,chosen,rejected\n"a\nb",c,r\n,c,r\n', "line 4: prompt: string should have"),
        ("prompt,chosen,rejected,margin\np,c,r,1_0\n", "line 2: margin: '1_0' is not a number"),
        ("prompt,chosen,rejected,margin\np,c,r,nan\n", "line 2: margin: 'nan' is not a number"),
        ("prompt,chosen,rejected,margin\np,c,r,1e999\n", "line 2: margin: input should be"),
        (
            "prompt,response_1,response_2,votes_1,votes_2\np,a,b,1,-2\n",
            "line 2: votes_2: input should be greater",
        ),
        (
            "prompt,response_1,response_2,votes_1,votes_2\np,a,b,1,\n",
            "line 2: votes_2: '' is not a number",
        ),
        ('prompt,chosen,rejected\np,"c"x,r\n', "line 2: not CSV"),
        ('prompt,chosen,rejected\np,"c\n\n', "line 2: not CSV (does every quote end?)"),
        ("prompt,chosen,rejected\np,c,\x00\ud800r\n", "line 2: not CSV"),
    ],
)
def test_a_fault_in_csv_is_named_with_its_line_and_column(text: str, reason: str) -> None:
    assert reason in fault(text.encode("utf-8", "surrogatepass"))


def test_a_compressed_file_is_named() -> None:
    assert "gzip: upload it unpacked" in fault(gzip.compress(json.dumps(PAIR).encode()))


class Endless(io.RawIOBase):
    """2 GB of a filling behind a beginning, which must never be read whole."""

    def __init__(self, beginning: bytes, filling: bytes) -> None:
        self.beginning, self.filling, self.place, self.furthest = beginning, filling, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        self.place = place
        return place

    def tell(self) -> int:
        return self.place

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), 2**31 - self.place)
        beginning = self.beginning[self.place : self.place + count]
        buffer[:count] = (beginning + self.filling * count)[:count]
        self.place += count
        self.furthest = max(self.furthest, self.place)
        return count


@pytest.mark.parametrize(
    ("beginning", "filling", "reason"),
    [
        (b'{"prompt": "', b"x", "line 1: longer than 1572864 bytes"),
        (b"", b" ", "line 1: longer than 1572864 bytes"),
        (b"", b"\n", "line 1000001: a file may have 1000000 lines"),
        (b'{"prompt": "p", "chosen": "c", "rejected": "r"}\n', b"\n", "line 1000001: a file may"),
        (b'prompt,chosen,rejected\np,c,"', b"x", "line 2: longer than 1572864 bytes"),
        (b'prompt,chosen,rejected\np,c,"', b"\n", "line 2: not CSV (does every quote end?)"),
        (b"prompt,chosen,rejected\n", b"\n", "line 1000001: a file may"),
    ],
)
def test_two_gigabytes_without_an_end_are_refused_after_the_first_megabytes(
    beginning: bytes, filling: bytes, reason: str
) -> None:
    endless = Endless(beginning, filling)
    with pytest.raises(InvalidInput) as raised:
        validate_preferences(io.BufferedReader(endless))
    assert reason in raised.value.message
    assert endless.furthest < 4 * 2**20


def test_a_longer_limit_of_cells_elsewhere_in_the_process_changes_nothing() -> None:
    limit = csv.field_size_limit(2**31)
    try:
        endless = Endless(b'prompt,chosen,rejected\np,c,"', b"x\n")
        with pytest.raises(InvalidInput, match="a quoted cell does not end within 1572864 bytes"):
            validate_preferences(io.BufferedReader(endless))
    finally:
        csv.field_size_limit(limit)
