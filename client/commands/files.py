"""`truthtune file …`: prompts and preference data."""

from pathlib import Path
from typing import Annotated

import typer

from api_schemas.files import FilePurpose
from client.commands.context import AsJson, connect, print_many, print_one, validated

app = typer.Typer(no_args_is_help=True, help="Uploaded files.")


@app.command()
def upload(
    context: typer.Context,
    path: Path,
    purpose: Annotated[str, typer.Option(help="`prompts`, `preferences` or `adapter`.")],
    as_json: AsJson = False,
) -> None:
    """Upload a file; every line of a JSONL file is checked."""
    known: FilePurpose = validated(FilePurpose, purpose, "--purpose")
    with connect(context) as client:
        print_one(client.files.upload(path, known), as_json)


@app.command("list")
def list_files(context: typer.Context, as_json: AsJson = False) -> None:
    """Your files, newest first."""
    with connect(context) as client:
        columns = ["id", "purpose", "filename", "lines", "bytes", "created_at"]
        print_many(client.files.list(), columns, as_json)
