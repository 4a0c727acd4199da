"""`truthtune file …`: prompts, preference data, documents."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from api_schemas.files import File, FilePurpose
from client.commands.context import (
    AsJson,
    connect,
    console,
    print_many,
    print_one,
    upload_file,
    validated,
)
from client.commands.ids import FileId
from client.report_card_tables import validation_parts

app = typer.Typer(no_args_is_help=True, help="Uploaded files.")


@app.command()
def upload(
    context: typer.Context,
    path: Path,
    purpose: Annotated[str, typer.Option(help=", ".join(get_args(FilePurpose)))],
    as_json: AsJson = False,
) -> None:
    """Upload a file; every line of it is checked. Of preferences, what can't be used is shown."""
    known: FilePurpose = validated(FilePurpose, purpose, "--purpose")
    with connect(context) as client:
        _show(upload_file(client, path, known, as_json), as_json)


@app.command()
def show(context: typer.Context, file_id: FileId, as_json: AsJson = False) -> None:
    """A file and, of preferences, what of it can't be used."""
    with connect(context) as client:
        _show(client.files.get(file_id), as_json)


@app.command("list")
def list_files(context: typer.Context, as_json: AsJson = False) -> None:
    """Your files, newest first."""
    with connect(context) as client:
        columns = ["id", "purpose", "filename", "lines", "bytes", "created_at"]
        print_many(client.files.list(), columns, as_json)


@app.command()
def delete(context: typer.Context, file_id: FileId, as_json: AsJson = False) -> None:
    """Delete a file of yours that nothing needs any more."""
    with connect(context) as client:
        print_one(client.files.delete(file_id), as_json)


def _show(file: File, as_json: bool) -> None:
    if as_json or file.validation is None:
        print_one(file, as_json)
        return
    screen = console()
    for part in validation_parts(file.validation):
        screen.print(part, soft_wrap=True)
    for name in ("id", "filename", "bytes", "sha256"):
        typer.echo(f"{name:<8}  {getattr(file, name)}")
