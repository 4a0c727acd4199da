"""What every command shares: the connection, input from files, output as a table or as JSON."""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer
from pydantic import BaseModel, TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from api_schemas.errors import InvalidInput, NotAuthenticated
from api_schemas.files import File, FilePurpose
from api_schemas.settings_file import read_settings_file
from client.client import Truthtune
from client.command_errors import sentence
from client.transfers import Transfers

Item = TypeVar("Item", bound=BaseModel)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

DEFAULT_URL = "http://127.0.0.1:8321"


@dataclass(frozen=True)
class Address:
    """Where the service is and who asks; an empty key if none was given."""

    url: str
    api_key: str


def address_of(context: typer.Context) -> Address:
    """From the options before the command, or their variables, or else from the settings file."""
    given = context.find_root().params
    file = read_settings_file()
    url = given.get("url") or file.value("TRUTHTUNE_URL") or DEFAULT_URL
    if given.get("api_key") and url != given.get("url") and file.lies_here("TRUTHTUNE_URL"):
        raise InvalidInput(
            f"TRUTHTUNE_URL comes from {file.place('TRUTHTUNE_URL')}, and the API key does not: "
            "whoever wrote that file would get the key. Set TRUTHTUNE_URL too, or name the file in "
            "TRUTHTUNE_SETTINGS_FILE"
        )
    if not _is_web_address(url):
        raise InvalidInput(f"TRUTHTUNE_URL {url!r} is no address like {DEFAULT_URL}")
    key = (given.get("api_key") or file.value("TRUTHTUNE_API_KEY") or "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InvalidInput("TRUTHTUNE_API_KEY is no API key: those start with tt_op_ or tt_grp_")
    return Address(url, key)


def connect(context: typer.Context) -> Truthtune:
    """Raises NotAuthenticated, without asking the service, if no key was given."""
    address = address_of(context)
    if not address.api_key:
        raise NotAuthenticated(
            "no API key: set TRUTHTUNE_API_KEY, here or in truthtune.env, or give --api-key first"
        )
    return Truthtune(address.url, address.api_key)


def upload_file(client: Truthtune, path: Path, purpose: FilePurpose, as_json: bool = False) -> File:
    """With a bar. Raises InvalidInput (`file`) if the file can't be read, or for a bad line."""
    with Transfers(visible=not as_json) as transfers, transfers.opened(path) as stream:
        return client.files.upload_stream(stream, path.name, purpose)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_one(item: BaseModel, as_json: bool) -> None:
    """An object as JSON, or one `field  value` a line; nested values as JSON."""
    fields = item.model_dump(mode="json")
    if as_json:
        print_json(fields)
        return
    width = max(map(len, fields))
    for name, value in fields.items():
        typer.echo(f"{name:<{width}}  {_text(value)}")


def print_place(path: Path, as_json: bool, *, noun: str = "file", **ids: str) -> None:
    """Where something was written; as JSON with the ids of what it is of, under `noun`."""
    if as_json:
        print_json({**ids, noun: str(path)})
    else:
        typer.echo(path)


def print_many(items: Iterable[BaseModel], columns: Sequence[str], as_json: bool) -> None:
    """A list as JSON, or as a table of some fields; `a.b` names a nested one."""
    print_table(items, lambda item: item.model_dump(mode="json"), columns, as_json)


def print_table(
    items: Iterable[Item],
    row: Callable[[Item], dict[str, Any]],
    columns: Sequence[str],
    as_json: bool,
) -> None:
    """A list as JSON, or as a table of what `row` says of each."""
    if as_json:
        print_json([item.model_dump(mode="json") for item in items])
    else:
        print_rows(map(row, items), columns)


def print_rows(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """What the first column says names the row: however narrow the terminal, it is whole."""
    cells = [[_text(_nested(row, column)) for column in columns] for row in rows]
    widest = max((len(line[0]) for line in cells), default=0)
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        name = column.rsplit(".", 1)[-1]
        table.add_column(name, no_wrap=True, min_width=widest if place == 0 else None)
    for line in cells:
        table.add_row(*line)
    console().print(table)


def console() -> Console:
    """Wide where it is no terminal: a cut identifier is of no use to a program."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=500)


def read_document(path: Path) -> Any:
    """The value of a JSON or TOML file. Raises InvalidInput naming the file and what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} can't be read: {error}") from None
    try:
        return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise InvalidInput(f"{path} is not {kind}: {error}") from None


def read_settings(path: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a JSON or TOML file, if there is one; those `given` take their place.

    Raises InvalidInput naming the file and what is wrong.
    """
    found = {} if path is None else read_document(path)
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} holds no object of settings")
    return found | {name: value for name, value in given.items() if value}


def read_json_lines(path: Path) -> list[tuple[int, Any]]:
    """The values of a file of JSON lines with their numbers; blank lines are none.

    Raises InvalidInput naming the file, the line and what is wrong.
    """
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} can't be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found.append((number, json.loads(line)))
            except ValueError as error:
                raise InvalidInput(f"{path}, line {number} is not JSON: {error}") from None
    return found


def write_file(path: Path, content: bytes) -> None:
    """Raises InvalidInput, naming the file, if it can't be written."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InvalidInput(f"{path} can't be written: {error.strerror}") from None


def validated(kind: Any, value: Any, source: str) -> Any:
    """`value` as `kind`. Raises InvalidInput, one line, that names field, reason and value."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        problems = "; ".join(sentence(detail) for detail in error.errors())
        raise InvalidInput(f"{source}: {problems}") from None


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a bracket or a port
        return False


def _nested(row: dict[str, Any], column: str) -> Any:
    value: Any = row
    for name in column.split("."):
        value = value[name]
    return value


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
