"""What every command shares: the connection, input from files, output as a table or as JSON."""

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from api_schemas.errors import InvalidInput, NotAuthenticated
from client.client import Truthtune

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Address:
    """Where the service is and who asks, from the options before the command."""

    url: str
    api_key: str | None


def connect(context: typer.Context) -> Truthtune:
    """Raises NotAuthenticated, without asking the service, if no key was given."""
    address: Address = context.find_root().obj
    if not address.api_key:
        raise NotAuthenticated("no API key: set TRUTHTUNE_API_KEY, or give --api-key first")
    return Truthtune(address.url, address.api_key)


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


def print_many(items: Iterable[BaseModel], columns: Sequence[str], as_json: bool) -> None:
    """A list as JSON, or as a table of some fields; `a.b` names a nested one."""
    rows = [item.model_dump(mode="json") for item in items]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, columns)


def print_rows(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.rsplit(".", 1)[-1], no_wrap=True)
    for row in rows:
        table.add_row(*(_text(_nested(row, column)) for column in columns))
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
        problems = "; ".join(_sentence(detail) for detail in error.errors())
        raise InvalidInput(f"{source}: {problems}") from None


def _sentence(detail: Any) -> str:
    where = ".".join(map(str, detail["loc"])) or "the whole"
    message = f"{where}: {detail['msg'].removeprefix('Value error, ')}"
    value = detail["input"]
    return f"{message}, not {value!r}" if isinstance(value, str | int | float) else message


def _nested(row: dict[str, Any], column: str) -> Any:
    value: Any = row
    for name in column.split("."):
        value = value[name]
    return value


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
