"""Other people's scripts and styles are the bytes that the lock names, with their licences."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from browsing import path_of

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "service" / "dashboard" / "static" / "vendor"
COPIES = {
    "pico.min.css": "@picocss/pico/css/pico.min.css",
    "pico.LICENSE.md": "@picocss/pico/LICENSE.md",
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "htmx.LICENSE": "htmx.org/LICENSE",
    "uPlot.iife.min.js": "uplot/dist/uPlot.iife.min.js",
    "uPlot.min.css": "uplot/dist/uPlot.min.css",
    "uPlot.LICENSE": "uplot/LICENSE",
}


def test_there_are_no_other_copies() -> None:
    assert {path.name for path in VENDOR.iterdir()} == set(COPIES)


def test_the_lock_names_versions_and_no_addresses() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    packages = {name: held for name, held in lock["packages"].items() if name}
    assert all(held["integrity"].startswith("sha512-") for held in packages.values())
    assert "://" not in json.dumps(packages)
    asked = json.loads((ROOT / "package.json").read_text())["dependencies"]
    assert asked == {
        name.removeprefix("node_modules/"): held["version"] for name, held in packages.items()
    }


def test_the_copies_are_what_the_lock_names(tmp_path: Path) -> None:
    npm = path_of("npm", "it comes with Node.js")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for copy, original in COPIES.items():
        assert (VENDOR / copy).read_bytes() == (tmp_path / "node_modules" / original).read_bytes()


def test_nothing_is_skipped_where_all_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER_TESTS", "required")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        path_of("no-such-program", "nobody makes it")
    monkeypatch.delenv("BROWSER_TESTS")
    with pytest.raises(pytest.skip.Exception, match="nobody makes it"):
        path_of("no-such-program", "nobody makes it")
