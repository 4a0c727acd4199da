"""Mutated model and preference files: each is accepted or refused by name, in bounded memory."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import hostile_files
import pytest

_MEMORY_BYTES = 64 * 2**20
"""Beyond the program's own; the largest mutation has some hundred KB."""


@pytest.mark.parametrize(
    ("kind", "files"), [("safetensors", 150), ("pairs", 150), ("votes", 150), ("parquet", 50)]
)
def test_mutated_files_are_read_or_refused(kind: str, files: int, tmp_path: Path) -> None:
    """A Parquet file takes a process of its own."""
    _read(kind, files, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    shares = {"safetensors": 5000, "pairs": 2000, "votes": 2000, "parquet": 1000}
    for kind, files in shares.items():
        found += _read(kind, files, tmp_path)
    assert found.total() == 10_000
    print(
        f"\n10,000 mutated files: {found['refused']} refused by name, {found['accepted']} accepted,"
        f" 0 crashes, within {_MEMORY_BYTES // 2**20} MiB beyond the program's own"
    )


def _read(kind: str, files: int, folder: Path) -> Counter[str]:
    program = Path(hostile_files.__file__)
    done = subprocess.run(
        [sys.executable, str(program), kind, str(files), "11", str(_MEMORY_BYTES)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = Counter(json.loads(done.stdout))
    assert found["refused"] > files // 4
    return found
