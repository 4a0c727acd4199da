"""The documentation builds strictly, holds every route, and fetches nothing from elsewhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

_FETCHED = re.compile(
    r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"?(?:https?:)?//([^\"> ]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it; a link, an anchor or a page of the navigation that is not there
    fails it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("")
        assert (site / ("" if name.name == "index" else name) / "index.html").is_file(), name


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    found = {
        address for page in site.rglob("*.html") for address in _FETCHED.findall(page.read_text())
    }
    assert found == set()


def test_every_route_has_a_section_with_its_errors_and_who_may_ask(site: Path) -> None:
    document = json.loads((site / "api" / "openapi.json").read_text())
    pages = {page: page.read_text() for page in (site / "api").glob("*/index.html")}
    for methods in document["paths"].values():
        for operation in methods.values():
            for tag in operation.get("tags", []):
                text = pages[site / "api" / tag.replace(" ", "-") / "index.html"]
                section = text.partition(f'id="{operation["operationId"]}"')[2].partition("<h2")[0]
                assert "operator" in section or "groups" in section or "anyone" in section
                assert ("Problem</a>" in section) == any(
                    status.startswith(("4", "5")) for status in operation["responses"]
                ), operation["operationId"]


def test_every_object_of_the_api_has_its_fields_on_one_page(site: Path) -> None:
    document = json.loads((site / "api" / "openapi.json").read_text())
    text = (site / "api" / "objects" / "index.html").read_text()
    for name, schema in document["components"]["schemas"].items():
        if not name.startswith("ListPage_"):
            section = text.partition(f'id="{name.lower()}"')[2].partition("<h2")[0]
            for field in schema.get("properties", {}):
                assert f"<code>{field}</code>" in section, f"{name}.{field}"


def test_the_reference_leads_to_each_routes_section(site: Path) -> None:
    document = json.loads((site / "api" / "openapi.json").read_text())
    text = (site / "reference" / "index.html").read_text()
    for methods in document["paths"].values():
        for operation in methods.values():
            if "tags" in operation:
                assert f'#{operation["operationId"]}"' in text
