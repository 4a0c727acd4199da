"""Three rooms, one direction: who may import whom, and what a process has to load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"api_schemas", "workers", "service", "client", "migrations"}
COMPUTE = {"torch", "transformers", "ray", "peft", "tokenizers", "safetensors"}
SQL = {"sqlalchemy", "alembic", "psycopg", "sqlite3"}
HTTP = {"fastapi", "starlette", "uvicorn", "httpx", "httpx2", "requests", "aiohttp", "http"}

ALLOWED_ROOMS = {
    "api_schemas": {"api_schemas"},
    "workers": {"api_schemas", "workers"},
    "service": {"api_schemas", "workers", "migrations", "service"},
    "migrations": {"api_schemas", "service", "migrations"},
    "client": {"api_schemas", "client"},
}
FORBIDDEN_PACKAGES = {
    "api_schemas": COMPUTE | SQL | HTTP | {"numpy"},
    "workers": SQL | HTTP,
    "service": COMPUTE,
    "migrations": COMPUTE | HTTP,
    "client": COMPUTE | SQL | {"fastapi", "starlette", "uvicorn", "numpy"},
}
# Run as a process: it shows that a downloaded model works with other people's packages alone.
PROGRAM = "client/demo/compare_answers.py"
# What asks language models elsewhere: the one file of its room that calls out.
CALLS_OUT = ("workers/language_models/endpoint.py", "httpx")
# Arrays in, arrays out: of the standard library only what has no clock, no chance and no files.
MECHANISM = {
    "numpy",
    "api_schemas",
    "workers",
    "collections",
    "dataclasses",
    "enum",
    "fractions",
    "functools",
    "itertools",
    "math",
    "typing",
}


@dataclass(frozen=True)
class Import:
    """`module` as it is written in `path`; `names` are what a `from` takes from it."""

    path: str
    module: str
    names: tuple[str, ...]

    @property
    def package(self) -> str:
        return self.module.split(".")[0]


def _imports(folder: str) -> Iterator[Import]:
    """Every import below `folder`: at the top of a file, in a function, or for types only."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, folder
    for file in files:
        path = str(file.relative_to(ROOT))
        for node in ast.walk(ast.parse(file.read_text(), path)):
            if isinstance(node, ast.Import):
                yield from (Import(path, alias.name, ()) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} imports relatively"
                yield Import(path, node.module or "", tuple(alias.name for alias in node.names))


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    found = {made for made in _imports(room) if made.package in ROOMS}
    assert [made for made in found if made.package not in ALLOWED_ROOMS[room]] == []


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_leaves_to_the_others_what_is_theirs(room: str) -> None:
    found = [
        made
        for made in _imports(room)
        if made.path != PROGRAM and (made.path, made.module) != CALLS_OUT
    ]
    assert [made for made in found if made.package in FORBIDDEN_PACKAGES[room]] == []


def test_the_demos_comparison_is_a_program_of_its_own_that_needs_none_of_our_code() -> None:
    assert {made.package for made in _imports("client") if made.path == PROGRAM} & ROOMS == set()
    name = PROGRAM.removesuffix(".py").replace("/", ".")
    for room in ROOMS:
        for made in _imports(room):
            assert name not in {made.module, *(f"{made.module}.{taken}" for taken in made.names)}


def test_the_mechanism_is_arithmetic_alone() -> None:
    found = list(_imports("workers/mechanism"))
    assert [made for made in found if made.package not in MECHANISM] == []
    ours = [made for made in found if made.package == "workers"]
    assert [made for made in ours if not made.module.startswith("workers.mechanism")] == []
    assert [made for made in found if made.module == "numpy" and "random" in made.names] == []


def test_only_the_command_mounts_other_rooms_and_only_these() -> None:
    """By name, so that no import statement shows it."""
    mounting = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "client").rglob("*.py")
        if "import_module" in file.read_text()
    }
    assert mounting == {"client/cli.py"}
    tree = ast.parse((ROOT / "client/cli.py").read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    named = {text for text in texts if str(text).split(".")[0] in ROOMS and "." in str(text)}
    assert named == {"service.cli", "workers.cli"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import service.app", COMPUTE),
        ("import service.playground.inference", COMPUTE | SQL | {"fastapi", "httpx", "numpy"}),
        ("import service.cli", COMPUTE | SQL | {"fastapi", "uvicorn"}),
        ("import client.cli", COMPUTE | SQL | {"fastapi", "uvicorn", "numpy", "service"}),
        ("import client", COMPUTE | SQL | {"fastapi", "numpy", "service", "workers"}),
        ("import api_schemas.rounds, api_schemas.outcomes", COMPUTE | SQL | HTTP | {"numpy"}),
        ("import workers.mechanism.payments", COMPUTE | SQL | {"sklearn", "pydantic_settings"}),
    ],
)
def test_a_process_loads_only_what_it_needs(code: str, absent: set[str]) -> None:
    absent = absent - {"sqlite3", "http"}  # the standard library's: others load them too
    loaded = _run(f"{code}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})")
    assert set(loaded.split()) & absent == set()


def test_the_apis_document_needs_no_database_no_files_and_no_models(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from service.app import create_app; from service.settings import Settings\n"
        f"home = Path({str(tmp_path)!r}) / 'home'\n"
        "app = create_app(Settings(home=home, database_url='postgresql+psycopg://nowhere/none'))\n"
        "assert '/v1/rounds' in app.openapi()['paths']\n"
        "assert not home.exists()\n"
        "print(*{name.split('.')[0] for name in sys.modules})\n"
    )
    assert set(_run(code).split()) & COMPUTE == set()


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
