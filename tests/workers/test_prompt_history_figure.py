"""The drawn history of a prompt optimisation: every candidate, its parent, and the best."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from api_schemas.corpora import PromptCandidate, PromptHistory
from workers import plots
from workers.plots.svg import BLUE, VERMILLION

SVG = "{http://www.w3.org/2000/svg}"


def candidate(index: int, iteration: int, origin: str, parent: int | None) -> PromptCandidate:
    fields = {"index": index, "iteration": iteration, "origin": origin, "parent": parent}
    return PromptCandidate.model_validate(
        {**fields, "prompt": f"prompt {index}", "score": 3.25 + index / 2, "judged": []}
    )


def history(*candidates: PromptCandidate, best: int = 0) -> PromptHistory:
    return PromptHistory(alpha=0.5, candidates=list(candidates), best=best)


FULL = history(
    candidate(0, 0, "announced", None),
    candidate(1, 0, "initial", None),
    candidate(2, 1, "reflection", 1),
    candidate(3, 1, "resampling", None),
    candidate(4, 2, "reflection", 3),
    best=4,
)


def texts(drawn: bytes) -> list[str]:
    page = ElementTree.fromstring(drawn)
    return ["".join(each.itertext()) for each in page.iter(f"{SVG}text")]


def test_the_best_candidate_and_every_origin_are_named() -> None:
    found = texts(plots.prompt_history_figure(FULL, "Prompts & scores"))
    for expected in (
        "Prompts & scores",
        "iteration",
        "candidate 4: 5.25",
        "announced",
        "written to start with",
        "reflection on its parent",
        "after the list of prompts",
        "best so far",
    ):
        assert expected in found
    assert any("0.5·max(0, len/len_ref − 1)" in each for each in found)


def test_every_candidate_is_a_point_and_every_parent_a_line() -> None:
    drawn = plots.prompt_history_figure(FULL, "t")

    def points(colour: str) -> int:
        """Without the one of the legend."""
        return len(re.findall(rb"<use [^>]*fill: " + colour.encode(), drawn)) - 1

    assert [points(BLUE.lower()), points(VERMILLION.lower())] == [2, 1]
    line = b"stroke: #56b4e9"
    assert drawn.count(line) == 2
    assert plots.prompt_history_figure(history(*FULL.candidates[:2]), "t").count(line) == 0


def test_the_same_history_is_the_same_bytes() -> None:
    first = plots.prompt_history_figure(FULL, "t")
    assert plots.prompt_history_figure(FULL, "t") == first
    assert plots.prompt_history_figure(history(*FULL.candidates[:4], best=3), "t") != first


def test_a_history_without_a_candidate_can_not_be_drawn() -> None:
    with pytest.raises(ValueError, match="no candidate"):
        plots.prompt_history_figure(history(), "t")
