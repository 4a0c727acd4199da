"""The reference names everything that there is, and nothing that there isn't."""

import re
from pathlib import Path

from service.app import create_app
from service.settings import Settings

ROOT = Path(__file__).parent.parent
REFERENCE = (ROOT / "docs" / "reference.md").read_text()


def table_rows(first_cell: str) -> list[str]:
    """The first cells of table rows that match the pattern."""
    return re.findall(rf"^\| `({first_cell})` \|", REFERENCE, re.MULTILINE)


def test_the_reference_has_exactly_the_settings_that_there_are() -> None:
    settings = [f"TRUTHTUNE_{name.upper()}" for name in Settings.model_fields]
    assert table_rows("TRUTHTUNE_[A-Z_]+") == settings


def test_the_reference_names_the_default_of_every_plain_setting() -> None:
    for name, field in Settings.model_fields.items():
        if field.default is not None:
            row = next(
                line for line in REFERENCE.splitlines() if f"`TRUTHTUNE_{name.upper()}`" in line
            )
            assert f"| `{field.default}` |" in row


def test_the_reference_has_exactly_the_routes_that_there_are(tmp_path: Path) -> None:
    paths = create_app(Settings(home=tmp_path)).openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    documented = table_rows(r"(?:GET|POST|PUT|DELETE|PATCH) /[^`]*")
    assert len(documented) == len(set(documented))
    assert set(documented) == routes


def test_the_reference_says_of_each_route_who_may_ask(tmp_path: Path) -> None:
    paths = create_app(Settings(home=tmp_path)).openapi()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            row = next(
                line for line in REFERENCE.splitlines() if f"`{method.upper()} {path}`" in line
            )
            assert f"| {who_may_ask(operation)} |" in row


def who_may_ask(operation: dict[str, object]) -> str:
    """As the route's own description ends; a route that asks for no key is anyone's."""
    description = str(operation.get("description", ""))
    if "security" not in operation:
        return "anyone"
    if description.endswith("Operator only."):
        return "operator"
    return "group" if description.endswith("Group keys only.") else "both"


def test_the_map_names_every_package_of_the_distribution() -> None:
    readme = (ROOT / "README.md").read_text()
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders <= set(re.findall(r"^(\w+)/  ", readme, re.MULTILINE))
    for folder in re.findall(r"^(\w+)/  ", readme, re.MULTILINE):
        assert (ROOT / folder).is_dir(), f"the map names {folder}/, which is not there"
