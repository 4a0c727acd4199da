"""Public preference data as comparisons, read from a folder that holds the original files.

The folder is `shared/data` beside the project, or `TRUTHTUNE_BENCH_DATA`; where each set comes from
stands with its function.
"""

import csv
import gzip
import io
import itertools
import os
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Comparison
from workers.preferences.formats import read_preferences

XSTEST_MODELS = ("gpt4", "llama2orig", "mistralinstruct")
CONTESTS = {"train": "510", "test": "519"}
_CLEAR_Z = 1.0


def folder() -> Path | None:
    """Where the data is; None where it is not."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    found = Path(os.environ.get("TRUTHTUNE_BENCH_DATA") or default)
    return found if found.is_dir() else None


def xstest(data: Path) -> list[Comparison]:
    """XSTest (Röttger et al. 2024): for each prompt, each full compliance before each full refusal.

    The opposite taste is the same pairs the other way round.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for model in XSTEST_MODELS:
        with (data / "xstest" / f"xstest_v2_completions_{model}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                found[row["prompt"]][row["final_label"]].append(row["completion"])
    return [
        Comparison(prompt, complies, refuses)
        for prompt, by_label in sorted(found.items())
        for complies in by_label["1_full_compliance"]
        for refuses in by_label["2_full_refusal"]
    ]


def hh_harmless(data: Path) -> list[Comparison]:
    """The test split of HH-RLHF's harmless-base (Bai et al. 2022)."""
    lines = gzip.decompress((data / "hh-harmless-base-test.jsonl.gz").read_bytes())
    return list(read_preferences(io.BytesIO(lines)).comparisons)


def captions(data: Path, pairs: int = 600, seed: int = 0) -> list[Comparison]:
    """New Yorker caption contests: trained on one cartoon, tested on another.

    `share` is the chance that a vote for one caption is higher than a vote for the other, ties
    counting half. Pairs are drawn at random among those whose mean votes differ by more than the
    standard error of their difference.
    """
    described = _cartoons(data / "caption-contest" / "descriptions_google_docs.txt")
    found = []
    for split, contest in CONTESTS.items():
        path = data / "caption-contest" / f"{contest}_summary_RoundRobin.csv"
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["caption"].strip()]
        votes = np.array(
            [[int(row[kind]) for kind in ("unfunny", "somewhat_funny", "funny")] for row in rows],
            dtype=np.float64,
        )
        texts = [row["caption"].strip() for row in rows]
        drawn = _clear_pairs(texts, votes, pairs, np.random.default_rng(seed))
        found += [replace(each, prompt=described[contest], split=split) for each in drawn]
    return found


def _cartoons(path: Path) -> dict[str, str]:
    """Descriptions by contest: each stands in the line after its heading."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    lines = [line for line in lines if line]
    heading = re.compile(r"contest (\d+)", re.IGNORECASE)
    return {
        match[1]: following
        for line, following in itertools.pairwise(lines)
        if (match := heading.match(line))
    }


def _clear_pairs(
    texts: list[str], votes: Floats, count: int, random: np.random.Generator
) -> list[Comparison]:
    points = np.arange(votes.shape[1])
    totals = votes.sum(1)
    means = votes @ points / totals
    variances = (votes @ points**2 / totals - means**2) / totals
    found: list[Comparison] = []
    while len(found) < count:
        i, j = random.choice(len(texts), 2, replace=False)
        clear = abs(means[i] - means[j]) > _CLEAR_Z * np.sqrt(variances[i] + variances[j])
        if not clear or texts[i] == texts[j]:
            continue
        better, worse = (i, j) if means[i] > means[j] else (j, i)
        share = _beats(votes[better] / totals[better], votes[worse] / totals[worse])
        if share > 0.5:
            found.append(Comparison("", texts[better], texts[worse], share))
    return found


def _beats(first: Floats, second: Floats) -> float:
    """P(first > second) + ½·P(equal), for two distributions over the same ordered votes."""
    below = np.cumsum(second) - second
    return float(first @ (below + second / 2))


def ukp_convarg(data: Path) -> list[Comparison]:
    """UKPConvArg1 (Habernal & Gurevych 2016): which of two arguments convinces more, by votes.

    All are on one question, so each argument would be on both sides of a split by pairs:
    `split_by_argument` draws one.
    """
    tree = ElementTree.parse(data / "ukpconvarg" / "tv-is-better-than-books_books.xml")
    return [pair for node in tree.getroot() if (pair := _argument_pair(node)) is not None]


def _argument_pair(node: ElementTree.Element) -> Comparison | None:
    first, second = (_text(node.find(f"{name}/text")) for name in ("arg1", "arg2"))
    votes = Counter(_text(value) for value in node.findall("mTurkAssignments//value"))
    total = votes["a1"] + votes["a2"] + votes["equal"]
    if first == second or total == 0:
        return None
    share = (votes["a1"] + votes["equal"] / 2) / total
    question = "Is TV better than books?"
    if share >= 0.5:
        return Comparison(question, first, second, share, total)
    return Comparison(question, second, first, 1 - share, total)


def _text(node: ElementTree.Element | None) -> str:
    return "" if node is None or node.text is None else node.text.strip()


def split_by_argument(
    pairs: list[Comparison], holdout_share: float, seed: int
) -> Iterator[Comparison]:
    """The pairs marked `train` or `test`, so that no argument is on both sides.

    A share of the arguments is held out; pairs of one argument from each side are left out.
    """
    arguments = sorted({text for pair in pairs for text in (pair.chosen, pair.rejected)})
    random = np.random.default_rng(seed)
    held_out = {
        arguments[i]
        for i in random.permutation(len(arguments))[: round(holdout_share * len(arguments))]
    }
    for pair in pairs:
        sides = {text in held_out for text in (pair.chosen, pair.rejected)}
        if len(sides) == 1:
            yield replace(pair, split="test" if sides == {True} else "train")
