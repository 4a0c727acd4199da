"""Preferences as Parquet: read like other files, and never decoded into more than fits."""

import io
import json
import resource
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from api_schemas.datasets import MAX_TEXT
from api_schemas.errors import InvalidInput
from workers.preferences import parquet
from workers.preferences.comparison import Comparison
from workers.preferences.formats import read_preferences

TEXT = pyarrow.string()


def table(columns: dict[str, Any], **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file, **options)
    return file


def fault(file: io.BytesIO) -> str:
    with pytest.raises(InvalidInput) as raised:
        read_preferences(file)
    assert raised.value.param == "file"
    return raised.value.message


def test_parquet_says_what_json_lines_say() -> None:
    lines = [
        {"prompt": f"p{k}", "responses": [f"a{k}", f"b{k}"], "votes": [k, 3], "tied_votes": 1}
        for k in range(700)
    ]
    by_lines = read_preferences(io.BytesIO("\n".join(map(json.dumps, lines)).encode()))
    lists = {name: [line[name] for line in lines] for name in lines[0]}
    assert read_preferences(table(lists, row_group_size=300)) == by_lines
    numbered = {
        "prompt": pyarrow.array(lists["prompt"]).dictionary_encode(),
        "response_1": pyarrow.array([a for a, _ in lists["responses"]], pyarrow.large_string()),
        "response_2": [b for _, b in lists["responses"]],
        "votes_1": pyarrow.array([a for a, _ in lists["votes"]], pyarrow.int16()),
        "votes_2": pyarrow.array([b for _, b in lists["votes"]], pyarrow.float32()),
        "tied_votes": lists["tied_votes"],
        "split": pyarrow.nulls(700, TEXT),
    }
    assert read_preferences(table(numbered, compression="zstd")) == by_lines


def test_the_decoder_sees_no_variable_of_the_services(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRUTHTUNE_API_KEY_SECRET", "hunter2")
    program = tmp_path / "told.py"
    program.write_text(
        "import json, os\n"
        "print(json.dumps(['prompt', 'chosen', 'rejected']))\n"
        "print(json.dumps(['p', 'seen: ' + ' '.join(os.environ), 'r']))\n"
    )
    monkeypatch.setattr(parquet, "_PROGRAM", program)
    seen = read_preferences(io.BytesIO(b"PAR1 any PAR1")).comparisons[0].chosen.split()
    assert seen[0] == "seen:"
    # Python itself sets the C locale's character type.
    assert set(seen[1:]) <= {"LC_CTYPE", "ARROW_DEFAULT_MEMORY_POOL", "OMP_NUM_THREADS"}


def test_pairs_and_dialogues_are_read_too() -> None:
    pairs = {"prompt": ["p"], "chosen": ["c"], "rejected": ["r"], "margin": [0.5]}
    assert read_preferences(table(pairs)).comparisons == [Comparison("p", "c", "r", margin=0.5)]
    turns = {
        "chosen": ["\n\nHuman: p\n\nAssistant: c"],
        "rejected": ["\n\nHuman: p\n\nAssistant: r"],
    }
    assert read_preferences(table(turns)).comparisons == [Comparison("p", "c", "r")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"chosen": ["c", None]}, "row 2: chosen: input should be a valid string"),
        ({"chosen": [1, 2]}, "row 1: chosen: input should be a valid string"),
        ({"margin": [1.0, float("nan")]}, "row 2: margin: input should be a valid number"),
        ({"margin": [1.0, None]}, "row 2: margin is missing, but row 1 has it"),
        ({"prompt": ["p", "p" * (MAX_TEXT + 1)]}, "row 2: prompt: string should have at most"),
        ({"rank": [1, 2]}, "the Parquet file has the columns 'prompt', 'chosen', 'rejected', 'ra"),
        ({"chosen": [{"text": "c"}] * 2}, "the column 'chosen' has the type struct<text: string>"),
        ({"chosen": [[["c"]]] * 2}, "the column 'chosen' has the type list"),
        ({"chosen": [b"c", b"d"]}, "the column 'chosen' has the type binary"),
        ({"chosen": pyarrow.array([b"c", b"\xff"]).view(TEXT)}, "row 2: a text is not UTF-8"),
        ({f"c{k}": ["x", "y"] for k in range(20)}, "it has 23 columns"),
    ],
)
def test_a_fault_in_parquet_is_named_with_its_row_or_column(
    changes: dict[str, Any], reason: str
) -> None:
    good = {"prompt": ["p", "q"], "chosen": ["c", "d"], "rejected": ["r", "s"]}
    assert reason in fault(table(good | changes))


def test_votes_of_a_list_and_of_columns_are_named_as_they_stand() -> None:
    lists = {"prompt": ["p"], "responses": [["a", "b"]], "votes": [[1, -2]]}
    assert "row 1: votes.1: input should be greater" in fault(table(lists))
    lists["responses"] = [["a", "b", "c", "d"]]
    assert "row 1: responses: list should have at most 2" in fault(table(lists))
    columns = {"response_1": ["a"], "response_2": ["b"], "votes_1": [1], "votes_2": [-2]}
    assert "row 1: votes_2: input should be greater" in fault(table({"prompt": ["p"]} | columns))


@pytest.mark.parametrize(
    "data",
    [
        b"PAR1",
        b"PAR1" + bytes(100) + b"PAR1",
        b"PAR1" + b"\xff" * 3000 + (3000).to_bytes(4, "little") + b"PAR1",
        table({"prompt": ["p"], "chosen": ["c"], "rejected": ["r"]}).getvalue()[:-20],
        b"PAR1" + b"\xff" * 2**25 + (2**25).to_bytes(4, "little") + b"PAR1",
    ],
)
def test_a_damaged_file_is_refused(data: bytes) -> None:
    assert fault(io.BytesIO(data)).startswith("the Parquet file can't be read: it")


def test_a_file_without_rows_is_refused() -> None:
    empty = {name: pyarrow.array([], TEXT) for name in ("prompt", "chosen", "rejected")}
    assert fault(table(empty)) == "the file holds no row"


def test_more_rows_than_a_file_may_have_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_LINES", 3)
    columns = {name: [f"{name}{k}" for k in range(4)] for name in ("prompt", "chosen", "rejected")}
    assert "it has 4 rows, the limit is 3" in fault(table(columns))


def repeated(text: str, rows: int) -> io.BytesIO:
    """A text that stands in the file once, however many rows have it."""
    places = pyarrow.array([0] * rows, pyarrow.int32())
    held = pyarrow.DictionaryArray.from_arrays(places, pyarrow.array([text]))
    other = pyarrow.DictionaryArray.from_arrays(places, pyarrow.array(["r"]))
    columns = {"prompt": held, "chosen": held, "rejected": other}
    return table(columns, compression="zstd")


def test_row_groups_that_say_they_are_too_large_are_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parquet, "_MAX_MEMORY", 2**26)
    schema = pyarrow.schema([(name, TEXT) for name in ("prompt", "chosen", "rejected")])
    file = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(
        file, schema, compression="zstd", use_dictionary=False
    ) as writer:
        long = ["x" * 2**20] * 40
        writer.write_table(pyarrow.table({"prompt": long, "chosen": long, "rejected": ["r"] * 40}))
    assert file.tell() < 2**16
    # 2 · 40 MiB = 83886080 bytes, and the headers of pages.
    assert "row group 0 decompresses to 838866" in fault(file)


def test_what_decodes_to_more_than_the_memory_ends_the_decoder_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The file says that its row group is small: the long text stands in it once.
    monkeypatch.setattr(parquet, "_MAX_MEMORY", 200 * 2**20)
    file = repeated("x" * 40_000_000, rows=100)
    assert len(file.getvalue()) < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "takes more than 209715200 bytes of memory" in fault(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 2**10


def test_a_text_repeated_beyond_all_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_MAX_CHARACTERS", 10**6)
    file = repeated("x" * 30_000, rows=100_000)
    assert len(file.getvalue()) < 2**20
    # 60001 characters a row, so that the 17th passes a million.
    assert "its first 17 rows hold more than 1000000 characters" in fault(file)
