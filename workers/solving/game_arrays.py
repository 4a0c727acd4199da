"""A pool game's arrays in .npy files beside it, read a part at a time."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from workers.mechanism.arrays import Floats
from workers.mechanism.streaming import PromptPool
from workers.solving.fields import Field, normalised, refuse

_VERSIONS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Prompts(Protocol):
    """The prompts of a pool game, one at a time; a list is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, prompt: int, /) -> PromptPool: ...


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """An open .npy file of floats; `path` is where the game names it."""

    path: str
    file: BinaryIO
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int

    @classmethod
    def opened(cls, field: Field, folder: Path, dimensions: str, files: ExitStack) -> "ArrayFile":
        """Open the file that `field` names; `dimensions` names its axes, for the error."""
        if not isinstance(field.value, str):
            field.refuse("is not the name of a .npy file")
        try:
            file = files.enter_context((folder / field.value).open("rb"))
            size = os.fstat(file.fileno()).st_size
        except (OSError, ValueError) as error:  # ValueError: a name with a null character
            field.refuse(f"can't be opened: {getattr(error, 'strerror', None) or error}")
        shape, dtype = _header(field, file)
        axes = len(dimensions.split(", "))
        if len(shape) != axes or 0 in shape:
            field.refuse(f"has shape {shape}, expected {axes} positive lengths: {dimensions}")
        start = file.tell()
        expected = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if size != expected:
            field.refuse(f"is {size} bytes long, its header says {expected}")
        return cls(field.path, file, dtype, shape, start)

    def read(self, first: int, count: int) -> Floats:
        """`count` consecutive elements from `first`; safe to call from several threads."""
        length = count * self.dtype.itemsize
        offset = self.start + first * self.dtype.itemsize
        data = os.pread(self.file.fileno(), length, offset)
        if len(data) != length:
            refuse(self.path, f"ended {length - len(data)} bytes early: was it changed meanwhile?")
        return np.frombuffer(data, self.dtype).astype(np.float64)


def _header(field: Field, file: BinaryIO) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = _VERSIONS[version](file)
    except Exception as error:  # a header is a Python literal, whose parser fails in many ways
        field.refuse(f"is not a .npy file of version 1 or 2: {' '.join(str(error).split())}")
    if dtype.kind != "f" or dtype.itemsize > 8:
        field.refuse(f"holds {dtype}, expected float16, float32 or float64")
    if fortran:
        field.refuse("is in Fortran order, expected C order")
    return shape, dtype


@dataclass(frozen=True, eq=False)
class _RewardRows:
    """One prompt's rewards, read when they are asked for."""

    array: ArrayFile
    prompt: int

    def __getitem__(self, groups: slice, /) -> Floats:
        _, all_groups, responses = self.array.shape
        first, last, _ = groups.indices(all_groups)
        start = (self.prompt * all_groups + first) * responses
        rewards_NJ = self.array.read(start, (last - first) * responses)
        rewards_NJ = rewards_NJ.reshape(last - first, responses)
        # Written so that a NaN is outside too.
        if not (rewards_NJ.min() >= 0 and rewards_NJ.max() <= 1):
            i, j = np.argwhere(~((rewards_NJ >= 0) & (rewards_NJ <= 1)))[0]
            place = f"{self.array.path}[{self.prompt}][{first + i}][{j}]"
            refuse(place, f"{float(rewards_NJ[i, j])} is outside [0, 1]")
        return rewards_NJ


@dataclass(frozen=True, eq=False)
class PromptsOnDisk:
    """Prompts whose rewards, shape (X, N, J), and base weights, (X, J), stay on disk."""

    rewards: ArrayFile
    base: ArrayFile | None
    weights_X: Floats

    @classmethod
    def opened(cls, field: Field, folder: Path, groups: int, files: ExitStack) -> "PromptsOnDisk":
        """Open the files that the game's `arrays` names; without `base`, weights are uniform."""
        fields = field.members(["rewards"], ["base", "weights"])
        rewards = ArrayFile.opened(fields["rewards"], folder, "prompts, groups, responses", files)
        prompts, rows, responses = rewards.shape
        if rows != groups:
            fields["rewards"].refuse(
                f"has shape {rewards.shape}, expected {groups} groups as in sizes"
            )
        base, weights_X = None, np.full(prompts, 1 / prompts)
        if "base" in fields:
            base = ArrayFile.opened(fields["base"], folder, "prompts, responses", files)
            _check_shape(fields["base"], base, (prompts, responses))
        if "weights" in fields:
            weights = ArrayFile.opened(fields["weights"], folder, "prompts", files)
            _check_shape(fields["weights"], weights, (prompts,))
            weights_X = _weights(weights)
        return cls(rewards, base, weights_X)

    def __len__(self) -> int:
        return len(self.weights_X)

    def __getitem__(self, prompt: int, /) -> PromptPool:
        rows = _RewardRows(self.rewards, prompt)
        return PromptPool(float(self.weights_X[prompt]), self._base(prompt), rows)

    def _base(self, prompt: int) -> Floats:
        responses = self.rewards.shape[2]
        if self.base is None:
            return np.full(responses, 1 / responses)
        base_J = self.base.read(prompt * responses, responses)
        bad_J = ~((base_J > 0) & (base_J <= 1))
        if bad_J.any():
            j = int(bad_J.argmax())
            place = f"{self.base.path}[{prompt}][{j}]"
            refuse(place, f"{float(base_J[j])} is not a positive probability")
        return normalised(f"{self.base.path}[{prompt}]", base_J)


def _check_shape(field: Field, array: ArrayFile, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        field.refuse(f"has shape {array.shape}, expected {expected} as in rewards")


def _weights(array: ArrayFile) -> Floats:
    weights_X = array.read(0, array.shape[0])
    bad_X = ~((weights_X >= 0) & np.isfinite(weights_X))
    if bad_X.any():
        x = int(bad_X.argmax())
        refuse(f"{array.path}[{x}]", f"{float(weights_X[x])} is not a weight")
    return normalised(array.path, weights_X)
