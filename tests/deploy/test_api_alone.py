"""The API's image: what its extras install is all that the API needs, and holds no torch."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from api_alone import canonical
from charts import ROOT
from packaging.requirements import Requirement

PROGRAM = Path(__file__).parent / "api_alone.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_api_takes_a_round_and_a_report_with_its_images_packages_alone(tmp_path: Path) -> None:
    (extras,) = re.findall(r"'\.\[(.*)\]'", (ROOT / "docker" / "api.Dockerfile").read_text())
    installed = {"truthtune"}
    for group in (PROJECT["dependencies"], *map(_extra, extras.split(","))):
        _add(group, (), installed)
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path, *installed],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"^taken: [1-9]\d* scores$", done.stdout, re.MULTILINE)


def _extra(name: str) -> list[str]:
    """As pyproject.toml has it now: the packages' own metadata is that of the last installation."""
    found: list[str] = PROJECT["optional-dependencies"][name]
    return found


def _add(texts: Iterable[str], extras: tuple[str, ...], found: set[str]) -> None:
    """The distributions that are installed for these requirements, and for theirs."""
    for text in texts:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": each}) for each in ("", *extras)):
            continue
        name = canonical(requirement.name)
        if name not in found or requirement.extras:
            found.add(name)
            wanted = tuple(sorted(requirement.extras))
            try:
                _add(metadata.requires(name) or [], wanted, found)
            except metadata.PackageNotFoundError:
                pytest.skip(f"{name} is not installed: make setup")
