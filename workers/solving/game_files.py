"""A game file: docs/solve.md. Everything in it is checked here, before anything is computed."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.mechanism.arrays import Floats
from workers.mechanism.regularizers import REGULARIZERS
from workers.mechanism.streaming import PromptPool
from workers.solving.fields import Field, normalised, parse, refuse
from workers.solving.game_arrays import Prompts, PromptsOnDisk

_SMALLEST, _LARGEST = 1e-300, 1e300
"""Coefficients beyond these leave the range of float64 when multiplied by a divergence."""

_LARGEST_SIZE = 2**53
"""Larger integers are not float64s."""


@dataclass(frozen=True, eq=False)
class PoolFile:
    """A game on a pool; `prompts` may have different numbers of responses.

    `rewards_path`: the JSON path of group i's rewards on all prompts, with `{}` for i.
    `on_disk`: the rewards are in a file beside the game; policies may be too many to print.
    """

    sizes_N: Floats
    regularizer: str
    coefficient: float
    prompts: Prompts
    rewards_path: str
    on_disk: bool


@dataclass(frozen=True, eq=False)
class CandidatesFile:
    """A game with finitely many models: `valuations_NK` and λ·D of each, `penalties_K`."""

    sizes_N: Floats
    valuations_NK: Floats
    penalties_K: Floats


@contextmanager
def opened(document: bytes, folder: Path) -> Iterator[PoolFile | CandidatesFile]:
    """The game that a JSON document describes; array files are sought in `folder` and held open.

    Raises InvalidInput with the JSON path and the value of the first thing that is wrong.
    """
    root = parse(document)
    with ExitStack() as files:
        yield _candidates(root) if _kind(root) == "candidates" else _pool(root, folder, files)


def _kind(root: Field) -> str:
    if not isinstance(root.value, dict):
        root.refuse("is not an object")
    if "kind" not in root.value:
        refuse("kind", "missing")
    return Field(root.value["kind"], "kind").one_of(["pool", "candidates"])


def _candidates(root: Field) -> CandidatesFile:
    fields = root.members(["kind", "sizes", "valuations", "penalties"])
    sizes_N = _sizes(fields["sizes"])
    penalties_K = fields["penalties"].numbers()
    fields["penalties"].refuse_where(penalties_K < 0, "is negative, but λ·D never is")
    rows = _rows(fields["valuations"], len(sizes_N))
    valuations = [row.numbers(len(penalties_K)) for row in rows]
    return CandidatesFile(sizes_N, np.stack(valuations), penalties_K)


def _pool(root: Field, folder: Path, files: ExitStack) -> PoolFile:
    coefficients = {f"{name}_coefficient": name for name in REGULARIZERS}
    optional = [*coefficients, "prompts", "arrays"]
    fields = root.members(["kind", "regularizer", "sizes"], optional)
    name = fields["regularizer"].one_of(REGULARIZERS)
    for key, other in coefficients.items():
        if key in fields and other != name:
            refuse(key, f"does not go with regularizer {name!r}")
    if f"{name}_coefficient" not in fields:
        refuse(f"{name}_coefficient", "missing")
    coefficient = _coefficient(fields[f"{name}_coefficient"])
    sizes_N = _sizes(fields["sizes"])
    if ("prompts" in fields) == ("arrays" in fields):
        refuse("prompts", "expected this or arrays, and not both")
    if "prompts" in fields:
        prompts = _prompts(fields["prompts"].items(), len(sizes_N))
        return PoolFile(sizes_N, name, coefficient, prompts, "prompts[*].rewards[{}]", False)
    arrays = PromptsOnDisk.opened(fields["arrays"], folder, len(sizes_N), files)
    return PoolFile(sizes_N, name, coefficient, arrays, "arrays.rewards[*][{}]", True)


def _coefficient(field: Field) -> float:
    coefficient = field.number()
    if coefficient <= 0:
        field.refuse("is not positive")
    if not _SMALLEST <= coefficient <= _LARGEST:
        field.refuse(f"is outside [{_SMALLEST}, {_LARGEST}]")
    return coefficient


def _sizes(field: Field) -> Floats:
    sizes_N = field.numbers()
    field.refuse_where((sizes_N < 1) | (sizes_N % 1 != 0), "is not a positive integer")
    field.refuse_where(sizes_N > _LARGEST_SIZE, "is larger than 2^53")
    return sizes_N


def _prompts(prompts: list[Field], groups: int) -> list[PromptPool]:
    members = [prompt.members(["base", "rewards"], ["weight"]) for prompt in prompts]
    weights_X = _weights(prompts, members)
    return [
        _prompt(fields, float(weight), groups)
        for fields, weight in zip(members, weights_X, strict=True)
    ]


def _weights(prompts: list[Field], members: list[dict[str, Field]]) -> Floats:
    """The weights of all prompts or, if none has one, uniform ones."""
    given = ["weight" in fields for fields in members]
    if not any(given):
        return np.full(len(prompts), 1 / len(prompts))
    if not all(given):
        refuse(f"{prompts[given.index(False)].path}.weight", "missing, but other prompts have one")
    weights = [fields["weight"].number() for fields in members]
    for fields, weight in zip(members, weights, strict=True):
        if weight < 0:
            fields["weight"].refuse("is negative")
    return normalised("prompts[*].weight", np.array(weights))


def _prompt(fields: dict[str, Field], weight: float, groups: int) -> PromptPool:
    base_J = fields["base"].numbers()
    fields["base"].refuse_where(base_J <= 0, "is not positive")
    rewards_NJ = np.empty((groups, len(base_J)))
    for i, row in enumerate(_rows(fields["rewards"], groups)):
        rewards_NJ[i] = row.numbers(len(base_J))
        row.refuse_where((rewards_NJ[i] < 0) | (rewards_NJ[i] > 1), "is outside [0, 1]")
    return PromptPool(weight, normalised(fields["base"].path, base_J), rewards_NJ)


def _rows(field: Field, groups: int) -> list[Field]:
    rows = field.items()
    if len(rows) != groups:
        refuse(field.path, f"has {len(rows)} rows, expected one for each of {groups} sizes")
    return rows
