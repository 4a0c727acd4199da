"""The page on scale shows what the model computes from the measurements that are kept."""

import json
import re
from typing import Any

import pytest
from pages import ROOT

from benchmarks.scaling.figures import FIGURES, FOLDER
from benchmarks.scaling.tables import TABLES
from benchmarks.scaling.words import WORDS

PAGE = (ROOT / "docs" / "scale.md").read_text()


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(
        (ROOT / "benchmarks" / "results" / "scale-cpu.json").read_text()
    )
    return kept


@pytest.mark.parametrize("name", TABLES)
def test_each_table_is_what_the_program_prints(name: str, found: dict[str, Any]) -> None:
    assert TABLES[name](found) in PAGE, f"python benchmarks/scale.py tables: {name}"


@pytest.mark.parametrize("name", WORDS)
def test_each_figure_in_the_sentences_is_computed(name: str, found: dict[str, Any]) -> None:
    assert WORDS[name](found) in " ".join(PAGE.split()), name


@pytest.mark.parametrize("name", FIGURES)
def test_each_drawing_is_what_the_program_draws(name: str, found: dict[str, Any]) -> None:
    assert (FOLDER / name).read_bytes() == FIGURES[name](found), "benchmarks/scale.py figures"


def test_every_table_of_the_page_is_computed_or_explains() -> None:
    """Those by hand: symbols, and what each stage does."""
    tables = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    assert len(tables) == len(TABLES) + 2


def test_what_is_assumed_says_so() -> None:
    assert PAGE.count("**assumed**") >= 5
